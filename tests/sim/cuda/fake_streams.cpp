// The fake driver: streams, events and graphs.  Nothing here runs before something waits for it.
#include <ctime>

#include "fake_cuda.h"

namespace {

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

// The default stream waits for the work that others hold now, and they for its work.
void order_with_default(Stream *stream) {
    auto wait_for = [stream](Stream *other) {
        if (other->done == other->pushed) return;
        auto ticket = other->pushed;
        stream->queue.push_back([other, ticket] { return run_stream(other, ticket); });
        stream->pushed++;
    };
    if (stream != &driver.default_stream) {
        if (stream->waits_for_default) wait_for(&driver.default_stream);
        return;
    }
    for (Stream *other : driver.streams)
        if (other->waits_for_default) wait_for(other);
}

}  // namespace

Result run_stream(Stream *stream, unsigned long long ticket) {
    if (stream->running) return SUCCESS;  // two streams that wait for each other's past
    stream->running = true;
    while (stream->done < ticket && !stream->queue.empty()) {
        Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (!driver.primary.sticky) driver.primary.sticky = work();
        stream->done++;
    }
    stream->running = false;
    return driver.primary.sticky;
}

Result run_everything() {
    run_stream(&driver.default_stream);
    for (Stream *stream : driver.streams) run_stream(stream);
    return driver.primary.sticky;
}

Result push(Stream *stream, Work work) {
    if (stream->capture) {
        stream->capture->work.push_back(std::move(work));
        return SUCCESS;
    }
    order_with_default(stream);
    stream->queue.push_back(std::move(work));
    stream->pushed++;
    return SUCCESS;
}

Stream *stream_of(void *handle) {
    void *legacy_default = reinterpret_cast<void *>(1);
    if (!handle || handle == legacy_default) return &driver.default_stream;
    auto *stream = static_cast<Stream *>(handle);
    return driver.streams.count(stream) ? stream : nullptr;
}

bool any_capture() {
    for (Stream *stream : driver.streams)
        if (stream->capture) return true;
    return false;
}

API cuStreamCreate(Stream **stream, unsigned flags) {
    NEEDS_CONTEXT;
    *stream = new Stream;
    (*stream)->waits_for_default = !(flags & 1);
    driver.streams.insert(*stream);
    return SUCCESS;
}

API cuStreamDestroy_v2(Stream *stream) {
    NEEDS_CONTEXT;
    if (!driver.streams.count(stream)) return INVALID_HANDLE;
    run_stream(stream);
    driver.streams.erase(stream);
    delete stream;
    return SUCCESS;
}

API cuStreamSynchronize(void *handle) {
    NEEDS_CONTEXT;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    return stream->capture ? STREAM_CAPTURE_UNSUPPORTED : run_stream(stream);
}

API cuStreamWaitEvent(void *handle, Event *event, unsigned) {
    NEEDS_CONTEXT;
    Stream *stream = stream_of(handle);
    if (!stream || !driver.events.count(event)) return INVALID_HANDLE;
    if (!event->recorded) return SUCCESS;
    Stream *other = event->stream;
    auto ticket = event->ticket;
    return push(stream, [other, ticket]() -> Result {
        return stream_of(other) ? run_stream(other, ticket) : SUCCESS;
    });
}

API cuEventCreate(Event **event, unsigned) {
    NEEDS_CONTEXT;
    *event = new Event;
    driver.events.insert(*event);
    return SUCCESS;
}

API cuEventDestroy_v2(Event *event) {
    NEEDS_CONTEXT;
    if (!driver.events.count(event)) return INVALID_HANDLE;
    if (!event->done) run_stream(event->stream, event->ticket);
    driver.events.erase(event);
    delete event;
    return SUCCESS;
}

API cuEventRecord(Event *event, void *handle) {
    NEEDS_CONTEXT;
    Stream *stream = stream_of(handle);
    if (!stream || !driver.events.count(event)) return INVALID_HANDLE;
    event->stream = stream;
    event->recorded = true;
    event->done = false;
    push(stream, [event] {
        event->time = now();
        event->done = true;
        return SUCCESS;
    });
    event->ticket = stream->pushed;
    return SUCCESS;
}

API cuEventSynchronize(Event *event) {
    NEEDS_CONTEXT;
    if (!driver.events.count(event)) return INVALID_HANDLE;
    return event->stream ? run_stream(event->stream, event->ticket) : SUCCESS;
}

API cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end) {
    NEEDS_CONTEXT;
    if (!driver.events.count(start) || !driver.events.count(end)) return INVALID_HANDLE;
    if (!start->recorded || !end->recorded) return INVALID_HANDLE;
    if (!start->done || !end->done) return NOT_READY;
    *milliseconds = float((end->time - start->time) * 1e3);
    return SUCCESS;
}

API cuStreamBeginCapture_v2(Stream *stream, int) {
    NEEDS_CONTEXT;
    if (!driver.streams.count(stream)) return STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return STREAM_CAPTURE_INVALIDATED;
    stream->capture = new Graph;
    return SUCCESS;
}

API cuStreamEndCapture(Stream *stream, Graph **graph) {
    NEEDS_CONTEXT;
    if (!driver.streams.count(stream)) return INVALID_HANDLE;
    if (!stream->capture) return INVALID_VALUE;
    *graph = stream->capture;
    stream->capture = nullptr;
    return SUCCESS;
}

API cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long) {
    NEEDS_CONTEXT;
    *executable = new Graph(*graph);
    return SUCCESS;
}

API cuGraphLaunch(Graph *executable, void *handle) {
    NEEDS_CONTEXT;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    for (const Work &work : executable->work) push(stream, work);
    return SUCCESS;
}

API cuGraphExecDestroy(Graph *executable) {
    delete executable;
    return SUCCESS;
}

API cuGraphDestroy(Graph *graph) {
    delete graph;
    return SUCCESS;
}
