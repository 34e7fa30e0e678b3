// Everything is in sim_cuda.h already.
#pragma once
