// The fake Objective-C run time.
#include "objc.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

std::recursive_mutex metal_lock;

namespace {

// Made on first use: other files define their classes before this file's variables exist.
std::set<std::string> &selectors() {
    static auto *set = new std::set<std::string>;
    return *set;
}

std::map<std::string, Class *> &classes() {
    static auto *map = new std::map<std::string, Class *>;
    return *map;
}

thread_local std::vector<std::vector<Object *>> pools;  // they belong to a thread
long leaked_without_pool;
bool misuse_ends_process = true;
std::vector<std::string> noted;

[[noreturn]] void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("simulated Objective-C: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    abort();
}

bool is_class(const Object *object) {
    return object->isa == CLASS_ISA;
}

}  // namespace

void misuse(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    noted.push_back(text);
    if (!misuse_ends_process) return;
    fprintf(stderr, "simulated Metal: %s\n", text);
    abort();
}

Class *define_class(const char *name, void (*on_dealloc)(Object *)) {
    auto *result = new Class{{CLASS_ISA, 1}, name, {}, {}, on_dealloc, 0};
    classes()[name] = result;
    DEFINE(result, "retain", "@@:", [](Object *self, Selector) { return objc_retain(self); });
    DEFINE(result, "release", "v@:", [](Object *self, Selector) { objc_release(self); });
    DEFINE(result, "retainCount", "Q@:",
           [](Object *self, Selector) { return NSUInteger(self->references); });
    DEFINE(result, "respondsToSelector:", "B@::", [](Object *self, Selector, Selector other) {
        return boolean(self->isa->instance_methods.count(other));
    });
    return result;
}

extern "C" Selector sel_registerName(const char *name) {
    Hold hold(metal_lock);
    return selectors().insert(name).first->c_str();
}

void define_method(Class *owner, const char *selector, const char *encoding, void *implementation,
                   bool of_class) {
    auto &methods = of_class ? owner->class_methods : owner->instance_methods;
    methods[sel_registerName(selector)] = Method{encoding, implementation};
}

// Messages ----------------------------------------------------------------------------------

// The implementation of a message; called by the assembly below.
extern "C" void *sim_objc_lookup(Object *self, Selector selector) {
    Hold hold(metal_lock);
    auto known = selectors().find(selector);
    if (known == selectors().end() || known->c_str() != selector)
        die("selector %p was not registered", static_cast<const void *>(selector));
    if (is_class(self)) {
        auto *owner = reinterpret_cast<Class *>(self);
        auto found = owner->class_methods.find(selector);
        if (found == owner->class_methods.end())
            die("unrecognized selector +[%s %s]", owner->name.c_str(), selector);
        return found->second.implementation;
    }
    const char *name = self->isa->name.c_str();
    if (self->references <= 0)
        die("message %s sent to deallocated %s %p", selector, name, static_cast<void *>(self));
    auto found = self->isa->instance_methods.find(selector);
    if (found == self->isa->instance_methods.end())
        die("unrecognized selector -[%s %s]", name, selector);
    return found->second.implementation;
}

// objc_msgSend keeps every argument register and jumps to the implementation with the stack
// untouched, so it needs no prototype.  A message to nil gives zero in every result register.
#if defined(__x86_64__)
#define SAVE                                                                            \
    "push %rbp \n mov %rsp, %rbp \n sub $208, %rsp \n"                                  \
    "mov %rdi, (%rsp) \n mov %rsi, 8(%rsp) \n mov %rdx, 16(%rsp) \n"                    \
    "mov %rcx, 24(%rsp) \n mov %r8, 32(%rsp) \n mov %r9, 40(%rsp) \n"                   \
    "mov %rax, 48(%rsp) \n"                                                             \
    "movaps %xmm0, 64(%rsp) \n movaps %xmm1, 80(%rsp) \n movaps %xmm2, 96(%rsp) \n"     \
    "movaps %xmm3, 112(%rsp) \n movaps %xmm4, 128(%rsp) \n movaps %xmm5, 144(%rsp) \n"  \
    "movaps %xmm6, 160(%rsp) \n movaps %xmm7, 176(%rsp) \n"
#define RESTORE_AND_JUMP                                                                \
    "mov %rax, %r11 \n"                                                                 \
    "mov (%rsp), %rdi \n mov 8(%rsp), %rsi \n mov 16(%rsp), %rdx \n"                    \
    "mov 24(%rsp), %rcx \n mov 32(%rsp), %r8 \n mov 40(%rsp), %r9 \n"                   \
    "mov 48(%rsp), %rax \n"                                                             \
    "movaps 64(%rsp), %xmm0 \n movaps 80(%rsp), %xmm1 \n movaps 96(%rsp), %xmm2 \n"     \
    "movaps 112(%rsp), %xmm3 \n movaps 128(%rsp), %xmm4 \n movaps 144(%rsp), %xmm5 \n"  \
    "movaps 160(%rsp), %xmm6 \n movaps 176(%rsp), %xmm7 \n"                             \
    "leave \n jmp *%r11 \n"
__asm__(
    ".text \n .globl objc_msgSend \n .type objc_msgSend, @function \n objc_msgSend: \n"
    "test %rdi, %rdi \n je 1f \n" SAVE "call sim_objc_lookup@PLT \n" RESTORE_AND_JUMP
    "1: xor %eax, %eax \n xor %edx, %edx \n pxor %xmm0, %xmm0 \n pxor %xmm1, %xmm1 \n ret \n"
    ".size objc_msgSend, .-objc_msgSend \n"
    // Structures that are returned in memory: their address comes first.
    ".globl objc_msgSend_stret \n .type objc_msgSend_stret, @function \n objc_msgSend_stret: \n"
    SAVE "mov %rsi, %rdi \n mov %rdx, %rsi \n call sim_objc_lookup@PLT \n" RESTORE_AND_JUMP
    ".size objc_msgSend_stret, .-objc_msgSend_stret \n");
#elif defined(__aarch64__)
__asm__(
    ".text \n .globl objc_msgSend \n .type objc_msgSend, %function \n objc_msgSend: \n"
    "cbz x0, 1f \n"
    "stp x29, x30, [sp, #-224]! \n mov x29, sp \n"
    "stp x0, x1, [sp, #16] \n stp x2, x3, [sp, #32] \n stp x4, x5, [sp, #48] \n"
    "stp x6, x7, [sp, #64] \n str x8, [sp, #80] \n"
    "stp q0, q1, [sp, #96] \n stp q2, q3, [sp, #128] \n stp q4, q5, [sp, #160] \n"
    "stp q6, q7, [sp, #192] \n"
    "bl sim_objc_lookup \n mov x16, x0 \n"
    "ldp q0, q1, [sp, #96] \n ldp q2, q3, [sp, #128] \n ldp q4, q5, [sp, #160] \n"
    "ldp q6, q7, [sp, #192] \n"
    "ldp x0, x1, [sp, #16] \n ldp x2, x3, [sp, #32] \n ldp x4, x5, [sp, #48] \n"
    "ldp x6, x7, [sp, #64] \n ldr x8, [sp, #80] \n"
    "ldp x29, x30, [sp], #224 \n br x16 \n"
    "1: mov x0, #0 \n mov x1, #0 \n movi d0, #0 \n ret \n");
#endif

extern "C" {

Class *objc_getClass(const char *name) {
    auto found = classes().find(name);
    return found == classes().end() ? nullptr : found->second;
}

Class *object_getClass(Object *object) {
    return object ? object->isa : nullptr;
}

Method *class_getInstanceMethod(Class *owner, Selector selector) {
    auto found = owner->instance_methods.find(selector);
    return found == owner->instance_methods.end() ? nullptr : &found->second;
}

const char *method_getTypeEncoding(Method *method) {
    return method->encoding.c_str();
}

// Reference counts --------------------------------------------------------------------------

Object *objc_retain(Object *object) {
    Hold hold(metal_lock);
    if (object) object->references++;
    return object;
}

void objc_release(Object *object) {
    if (!object || is_class(object)) return;
    Hold hold(metal_lock);
    if (object->references <= 0)
        return misuse("over-release of %s %p", object->isa->name.c_str(),
                      static_cast<void *>(object));
    if (--object->references) return;
    object->isa->alive--;
    if (object->isa->on_dealloc) object->isa->on_dealloc(object);
}

Object *objc_autorelease(Object *object) {
    if (pools.empty())
        leaked_without_pool++;
    else
        pools.back().push_back(object);
    return object;
}

void *objc_autoreleasePoolPush() {
    pools.emplace_back();
    return reinterpret_cast<void *>(pools.size());
}

// Pools form a stack: popping one also empties those pushed after it.
void objc_autoreleasePoolPop(void *pool) {
    while (!pools.empty() && pools.size() >= reinterpret_cast<size_t>(pool)) {
        auto objects = std::move(pools.back());
        pools.pop_back();
        for (Object *object : objects) objc_release(object);
    }
}

// For tests -----------------------------------------------------------------------------------

// Living objects of one class, or of all but the device.
long sim_alive(const char *name) {
    Hold hold(metal_lock);
    if (name) return classes().count(name) ? classes()[name]->alive : -1;
    long total = 0;
    for (auto &entry : classes())
        if (entry.first != "MTLDevice") total += entry.second->alive;
    return total;
}

long sim_autoreleased_without_pool() {
    return leaked_without_pool;
}

void sim_note_misuse(int on) {
    misuse_ends_process = !on;
}

// What was noted since the last call, a line each; returns how many there are.
long sim_take_misuse(char *text, size_t size) {
    std::string lines;
    for (const std::string &line : noted) lines += line + "\n";
    snprintf(text, size, "%s", lines.c_str());
    long count = long(noted.size());
    noted.clear();
    return count;
}

int dlgrad_sim_version() {
    return 1;
}
}
