"""C functions that Python calls as it calls its own built-in ones, without `ctypes` in between.

Floor 4.  A part of the text that `runtime_source.py` puts together; `direct.py` makes Python's
side of it.  A call through `ctypes` takes half a microsecond and a replay by Python six, in
which NumPy adds a thousand numbers ten times.  Calls from here take a tenth of both.

The text needs no header of Python and no library of it: what it uses are functions of Python's
stable binary interface, whose addresses come in a table, and the two words at the head of every
object.  What it stores in objects goes to places that `direct.py` has found by trying.
"""

DIRECT = r"""
/* Direct calls -----------------------------------------------------------------------------

   `dg_call` calls a C function with integers, and `dg_replay` plays a captured function of
   tensors again.  Both are called by Python with its interpreter lock held, as (self, array of
   arguments, how many).  A reference that is "new" has to be given back with `drop`. */

typedef struct dg_object {
    intptr_t references;
    const void *type;
} dg_object;

/* Functions and objects of Python, in the order of direct.py. */
static struct dg_python {
    long (*to_integer)(dg_object *);
    dg_object *(*from_integer)(long);                       /* new */
    dg_object *(*attribute)(dg_object *, dg_object *name);  /* new */
    dg_object *(*item)(dg_object *dict, dg_object *key);    /* not new */
    int (*compare)(dg_object *, dg_object *, int operation);
    dg_object *(*reference)(dg_object *, dg_object *callback); /* new, a weak one */
    dg_object *(*tuple)(intptr_t length);                   /* new */
    int (*set_in_tuple)(dg_object *tuple, intptr_t place, dg_object *item); /* takes the item */
    dg_object *(*in_list)(dg_object *list, intptr_t place); /* not new */
    int (*set_in_list)(dg_object *list, intptr_t place, dg_object *item);   /* takes the item */
    void (*keep)(dg_object *);
    void (*drop)(dg_object *);
    dg_object *(*error)(void);                              /* not new */
    void (*forget_error)(void);
    int (*bad_argument)(void);
    void *(*release_lock)(void);
    void (*take_lock)(void *);
    dg_object *none, *not_implemented, *no_arguments;
} python;

enum { DG_EQUAL = 2, DG_MOST_ARGUMENTS = 6, DG_MOST_SLOTS = 32 };
enum { DG_MEMORY, DG_NODE, DG_STORAGE, DG_TENSOR, DG_MEMBERS }; /* what a tensor consists of */
enum { DG_ONE_FOR_ALL, DG_MEMBER, DG_REFERENCE, DG_ADDRESS };   /* what is in a slot of these */
enum { DG_ATTRIBUTE, DG_ITEM, DG_SLOT };                        /* where a condition looks */
enum { DG_SPARES = 2 };

void dg_set_python(const struct dg_python *table) {
    python = *table;
}

/* Calls the function at the address `self` with integers, as many as those that are called this
   way take; returns its integer. */
static dg_object *dg_call(dg_object *self, dg_object *const *given, intptr_t count) {
    typedef int64_t (*of_one)(int64_t);
    typedef int64_t (*of_two)(int64_t, int64_t);
    typedef int64_t (*of_six)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
    int64_t a[DG_MOST_ARGUMENTS] = {0};
    intptr_t function = (intptr_t)python.to_integer(self);
    if (count != 1 && count != 2 && count != 6) {
        python.bad_argument();
        return NULL;
    }
    for (intptr_t i = 0; i < count; i++) {
        a[i] = python.to_integer(given[i]);
        if (a[i] == -1 && python.error())
            return NULL;
    }
    void *thread = python.release_lock();
    int64_t result = count == 1   ? ((of_one)function)(a[0])
                     : count == 2 ? ((of_two)function)(a[0], a[1])
                                  : ((of_six)function)(a[0], a[1], a[2], a[3], a[4], a[5]);
    python.take_lock(thread);
    return python.from_integer(result);
}

/* Where the parts of a tensor are, in bytes from the head of each object.  A tensor has a
   storage, which has a node of the graph, whose argument is the memory. */
struct dg_layout {
    const void *tensor, *storage, *node, *memory; /* types */
    int64_t tensor_storage, tensor_view, tensor_shape, tensor_dtype;
    int64_t storage_node, storage_shape;
    int64_t node_op, node_arg, node_device;
    int64_t memory_address;
    dg_object *buffer;        /* the op of a node that is memory */
    const void *reference;    /* the type of a weak reference, and where it has the object */
    int64_t reference_object;
};

/* Something that must be the very object that it was: the attribute `name` of its owner, the
   item of a dict, or what is in the slot so many bytes from the head. */
struct dg_condition {
    int64_t kind;
    dg_object *owner;
    union {
        dg_object *name;
        int64_t offset;
    };
    dg_object *value;
};

/* An argument as it was captured, and the slot of its address.  A `view` that is not None shows
   all of a storage of `storage_shape`. */
struct dg_argument {
    dg_object *shape, *dtype, *device, *view, *storage_shape;
    int64_t slot;
};

/* What stands in the slot at `offset` of a member of a new result: the object `value`, which is
   the same for all; the member with the number `value`, or a weak reference to it; the address
   of the memory. */
struct dg_field {
    int64_t member, offset, kind, value;
};

/* A result: its members are objects of these types, made by these functions.  `spares` is None or
   a list of DG_SPARES storages of earlier results, of which one may be used again. */
struct dg_result {
    int64_t nbytes, slot;
    const void *types[DG_MEMBERS];
    dg_object *(*make[DG_MEMBERS])(const void *type, dg_object *arguments, dg_object *names);
    const struct dg_field *fields;
    int64_t field_count;
    int64_t uses[DG_MEMBERS]; /* how many slots of the others hold a member */
    dg_object *spares;
    int64_t oldest;           /* of the spares */
};

/* Memory for what lies between the kernels, lent for the time of a call. */
struct dg_lent {
    int64_t nbytes, slot;
};

struct dg_replayed {
    const struct dg_layout *layout;
    const struct dg_condition *conditions;
    const struct dg_argument *arguments;
    struct dg_result *results;
    const struct dg_lent *lent;
    const void *const *addresses; /* of all slots; the replay fills in those of its own memory */
    const struct dg_record *records;
    int64_t condition_count, argument_count, result_count, lent_count;
    int64_t slot_count, record_count, threads;
    int64_t is_tuple; /* whether the results are a tuple, or the only one by itself */
};

static inline dg_object *dg_in(const dg_object *object, int64_t offset) {
    return *(dg_object *const *)((const char *)object + offset);
}

static int dg_same(dg_object *a, dg_object *b) {
    if (a == b)
        return 1;
    int equal = a ? python.compare(a, b, DG_EQUAL) : 0;
    if (equal < 0)
        python.forget_error();
    return equal == 1;
}

static int dg_holds(const struct dg_condition *condition) {
    dg_object *found;
    if (condition->kind == DG_SLOT)
        return dg_in(condition->owner, condition->offset) == condition->value;
    if (condition->kind == DG_ITEM) {
        found = python.item(condition->owner, condition->name);
    } else {
        found = python.attribute(condition->owner, condition->name);
        if (found)
            python.drop(found); /* its owner still has it */
    }
    if (!found && python.error())
        python.forget_error();
    return found == condition->value;
}

static inline void *dg_address_of(const struct dg_layout *at, const dg_object *memory) {
    return (void *)python.to_integer(dg_in(memory, at->memory_address));
}

/* The memory of a tensor that is as it was captured; NULL for any other. */
static dg_object *dg_memory_of(const struct dg_layout *at, const dg_object *tensor,
                               const struct dg_argument *expected) {
    if (tensor->type != at->tensor || dg_in(tensor, at->tensor_dtype) != expected->dtype ||
        !dg_same(dg_in(tensor, at->tensor_shape), expected->shape))
        return NULL;
    const dg_object *storage = dg_in(tensor, at->tensor_storage);
    if (!storage || storage->type != at->storage)
        return NULL;
    dg_object *view = dg_in(tensor, at->tensor_view);
    if (view != python.none &&
        !(dg_same(view, expected->view) &&
          dg_same(dg_in(storage, at->storage_shape), expected->storage_shape)))
        return NULL;
    const dg_object *node = dg_in(storage, at->storage_node);
    if (!node || node->type != at->node || dg_in(node, at->node_op) != at->buffer ||
        !dg_same(dg_in(node, at->node_device), expected->device))
        return NULL;
    dg_object *memory = dg_in(node, at->node_arg);
    return memory && memory->type == at->memory ? memory : NULL;
}

/* How many references to an object there are; from some version on flags are in the upper half. */
static inline uint32_t dg_uses(const dg_object *object) {
    return (uint32_t)object->references;
}

/* Whether a storage, kept here alone, and its members are as they were made, and nobody knows
   them any more.  Writes the members. */
static int dg_is_spare(const struct dg_layout *at, const struct dg_result *result,
                       dg_object *storage, dg_object **members) {
    if (storage == python.none || dg_uses(storage) != 1)
        return 0;
    members[DG_STORAGE] = storage;
    members[DG_NODE] = dg_in(storage, at->storage_node);
    if (!members[DG_NODE] || members[DG_NODE]->type != at->node)
        return 0;
    members[DG_MEMORY] = dg_in(members[DG_NODE], at->node_arg);
    if (!members[DG_MEMORY] || members[DG_MEMORY]->type != at->memory ||
        dg_uses(members[DG_NODE]) != result->uses[DG_NODE] ||
        dg_uses(members[DG_MEMORY]) != result->uses[DG_MEMORY])
        return 0;
    for (int64_t i = 0; i < result->field_count; i++) {
        const struct dg_field *field = &result->fields[i];
        if (field->member == DG_TENSOR)
            continue;
        const dg_object *found = dg_in(members[field->member], field->offset);
        if (field->kind == DG_ONE_FOR_ALL && found != (const void *)(intptr_t)field->value)
            return 0;
        if (field->kind == DG_MEMBER && found != members[field->value])
            return 0;
        if (field->kind == DG_REFERENCE &&
            (found == NULL || found->type != at->reference || dg_uses(found) != 1 ||
             dg_in(found, at->reference_object) != members[field->value]))
            return 0;
    }
    return 1;
}

/* A storage of an earlier result that may be used again, new; NULL if there is none.  While it
   is held no other thread finds it. */
static dg_object *dg_spare(const struct dg_layout *at, const struct dg_result *result) {
    dg_object *members[DG_MEMBERS];
    if (result->spares == python.none)
        return NULL;
    for (int i = 0; i < DG_SPARES; i++) {
        dg_object *storage = python.in_list(result->spares, i);
        if (dg_is_spare(at, result, storage, members)) {
            python.keep(storage);
            return storage;
        }
    }
    return NULL;
}

/* A new tensor, over a spare storage that goes with it or over the memory at `address`; NULL,
   with Python's error, where Python has no memory. */
static dg_object *dg_new_tensor(const struct dg_layout *at, struct dg_result *result,
                                dg_object *spare, long address) {
    dg_object *members[DG_MEMBERS] = {NULL};
    int first = spare ? DG_TENSOR : DG_MEMORY, failed = 0;
    if (spare) {
        members[DG_STORAGE] = spare;
        python.keep(members[DG_NODE] = dg_in(spare, at->storage_node));
        python.keep(members[DG_MEMORY] = dg_in(members[DG_NODE], at->node_arg));
    }
    for (int i = first; i < DG_MEMBERS && !failed; i++) {
        members[i] = result->make[i](result->types[i], python.no_arguments, NULL);
        failed = !members[i];
    }
    for (int64_t i = 0; i < result->field_count && !failed; i++) {
        const struct dg_field *field = &result->fields[i];
        dg_object *value = NULL;
        if (field->member < first)
            continue;
        if (field->kind == DG_ONE_FOR_ALL)
            python.keep(value = (dg_object *)(intptr_t)field->value);
        else if (field->kind == DG_MEMBER)
            python.keep(value = members[field->value]);
        else if (field->kind == DG_REFERENCE)
            value = python.reference(members[field->value], NULL);
        else
            value = python.from_integer(address);
        *(dg_object **)((char *)members[field->member] + field->offset) = value;
        failed = !value;
    }
    if (!spare && !failed && result->spares != python.none) {
        python.keep(members[DG_STORAGE]);
        python.set_in_list(result->spares, result->oldest, members[DG_STORAGE]);
        result->oldest = (result->oldest + 1) % DG_SPARES;
    }
    for (int i = 0; i < DG_TENSOR; i++) /* the tensor holds the others */
        if (members[i])
            python.drop(members[i]);
    if (failed && members[DG_TENSOR])
        python.drop(members[DG_TENSOR]);
    return failed ? NULL : members[DG_TENSOR];
}

/* Runs the launches with memory for what lies between them; returns whether there was memory. */
static int dg_run_lent(const struct dg_replayed *replay, void **slots) {
    int64_t lent = 0;
    int done = 0;
    for (; lent < replay->lent_count; lent++) {
        slots[replay->lent[lent].slot] = dg_allocate(replay->lent[lent].nbytes);
        if (!slots[replay->lent[lent].slot])
            break;
    }
    if (lent == replay->lent_count)
        done = !dg_run(replay->records, replay->record_count, slots, NULL, replay->threads, NULL);
    while (lent-- > 0)
        dg_free(slots[replay->lent[lent].slot], replay->lent[lent].nbytes);
    return done;
}

/* Allocates the results that have no spare storage and runs; returns whether there was memory. */
static int dg_run_replay(const struct dg_replayed *replay, dg_object *const *spares, void **slots) {
    int64_t done = 0;
    for (; done < replay->result_count; done++) {
        const struct dg_result *result = &replay->results[done];
        if (spares[done])
            continue;
        void *block = result->nbytes ? dg_allocate(result->nbytes) : NULL;
        if (result->nbytes && !block)
            break;
        slots[result->slot] = block;
    }
    if (done == replay->result_count && dg_run_lent(replay, slots))
        return 1;
    while (done-- > 0)
        if (!spares[done])
            dg_free(slots[replay->results[done].slot], replay->results[done].nbytes);
    return 0;
}

/* Plays the captured function at the address `self`.  Where anything is not as it was captured,
   or there is no memory, NotImplemented: then Python finds out and says what. */
static dg_object *dg_replay(dg_object *self, dg_object *const *given, intptr_t count) {
    const struct dg_replayed *replay = (const void *)(intptr_t)python.to_integer(self);
    const struct dg_layout *at = replay->layout;
    void *slots[DG_MOST_SLOTS];
    dg_object *held[DG_MOST_SLOTS], *spares[DG_MOST_SLOTS];
    int fits = !atomic_load(&dg_closed) && count == replay->argument_count;
    for (int64_t i = 0; i < replay->condition_count && fits; i++)
        fits = dg_holds(&replay->conditions[i]);
    memcpy(slots, replay->addresses, sizeof(void *) * (size_t)replay->slot_count);
    int64_t holding = 0;
    for (; holding < count && fits; holding++) {
        const struct dg_argument *expected = &replay->arguments[holding];
        dg_object *memory = dg_memory_of(at, given[holding], expected);
        fits = memory != NULL;
        if (!fits)
            break;
        python.keep(held[holding] = memory); /* while the lock is away */
        slots[expected->slot] = dg_address_of(at, memory);
    }
    for (int64_t i = 0; i < replay->result_count && fits; i++) {
        const struct dg_result *result = &replay->results[i];
        spares[i] = dg_spare(at, result);
        if (spares[i])
            slots[result->slot] = dg_address_of(at, dg_in(dg_in(spares[i], at->storage_node),
                                                          at->node_arg));
    }
    if (fits) {
        void *thread = python.release_lock();
        fits = dg_run_replay(replay, spares, slots);
        python.take_lock(thread);
        for (int64_t i = 0; i < replay->result_count && !fits; i++)
            if (spares[i])
                python.drop(spares[i]);
    }
    while (holding-- > 0)
        python.drop(held[holding]);
    if (!fits) {
        python.keep(python.not_implemented);
        return python.not_implemented;
    }
    dg_object *results = replay->is_tuple ? python.tuple(replay->result_count) : NULL;
    dg_object *result = NULL;
    int failed = replay->is_tuple && !results;
    for (int64_t i = 0; i < replay->result_count; i++) {
        struct dg_result *made = &replay->results[i];
        if (!failed) {
            result = dg_new_tensor(at, made, spares[i], (long)slots[made->slot]);
            failed = !result;
            if (results && !failed)
                python.set_in_tuple(results, i, result);
        } else if (spares[i]) {
            python.drop(spares[i]);
        }
    }
    if (failed && results)
        python.drop(results);
    return failed ? NULL : results ? results : result;
}

/* What makes a built-in function for Python, see PyMethodDef. */
struct dg_method {
    const char *name;
    dg_object *(*function)(dg_object *, dg_object *const *, intptr_t);
    int kind; /* 0x80: called with an array of arguments */
    const char *documentation;
};

struct dg_method dg_call_method = {
    "call", dg_call, 0x80, "Calls a function of dlgrad's run time in C."};
struct dg_method dg_replay_method = {
    "replay", dg_replay, 0x80, "Plays a captured function of dlgrad again."};
"""
