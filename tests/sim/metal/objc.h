// The fake Objective-C run time: objects, classes, messages, reference counts.
#pragma once

#include <map>
#include <mutex>
#include <string>

typedef unsigned long NSUInteger;
typedef const char *Selector;
struct Class;

struct Object {
    Class *isa;  // first, as in every Objective-C object
    long references;
};

struct Method {
    std::string encoding;
    void *implementation;
};

struct Class {
    Object base;  // a class is an object too; its isa is CLASS_ISA
    std::string name;
    std::map<Selector, Method> instance_methods, class_methods;
    void (*on_dealloc)(Object *);
    long alive;
};

Class *const CLASS_ISA = reinterpret_cast<Class *>(1);

// One lock for everything: ctypes lets go of the interpreter lock, so calls come in parallel.
extern std::recursive_mutex metal_lock;
typedef std::lock_guard<std::recursive_mutex> Hold;

Class *define_class(const char *name, void (*on_dealloc)(Object *) = nullptr);
void define_method(Class *owner, const char *selector, const char *encoding, void *implementation,
                   bool of_class = false);

// `DEFINE(DEVICE, "name", "@@:", [](Object *, Selector) ...)`
#define DEFINE(owner, selector, encoding, ...) \
    define_method(owner, selector, encoding, reinterpret_cast<void *>(+__VA_ARGS__))

// Memory of dead objects is kept, so that every later message finds a zombie and is reported.
template <class T> T *make(Class *isa) {
    Hold hold(metal_lock);
    T *object = new T();
    object->isa = isa;
    object->references = 1;
    isa->alive++;
    return object;
}

extern "C" {
Object *objc_retain(Object *object);
void objc_release(Object *object);
Object *objc_autorelease(Object *object);
}

struct String : Object {
    std::string text;
};
struct Error : Object {
    std::string text;
    long code;
};

Object *autoreleased_string(const std::string &text);
Error *make_error(const std::string &text, long code);

// A BOOL is one byte; the rest of its register is rubbish, to catch whoever reads an int.
inline unsigned long boolean(bool value) {
    return 0xDEADBEEFCAFEBA00ul | value;
}

// Misuse that Metal would answer with an exception or a validation failure.  It ends the
// process, or is noted down where a test has asked for that.
void misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
