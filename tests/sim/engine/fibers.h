// The threads of one group; used by launch.cpp alone.
#pragma once

#include "engine.h"

void fibers_begin_launch(const SimLaunch &launch, unsigned threads_per_group);
SimThread &fibers_thread(unsigned index);  // to be filled before the group runs
SimResult fibers_run_group(unsigned threads);
void fibers_abandon();                     // after a fault: every stack is free again
void fibers_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *fibers_last_message();
