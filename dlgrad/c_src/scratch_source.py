"""What the run time in C hands to a kernel for its scratch memory, as C text.

Floor 4.  Both sides know this record: a kernel finds its address behind those of its buffers.
"""

SCRATCH = """\
/* Scratch memory for the calls of one launch, which several threads may make at a time. */
struct dg_scratch {
    void *(*allocate)(int64_t nbytes);      /* on a boundary of 64 bytes; NULL: there is none */
    void (*release)(void *block);
    void (*wait)(void);                     /* lets others go on */
    void *shared;                           /* a block of all calls, which the first one makes
                                               and which is released when the launch is over */
    int failed;                             /* set where there was no memory */
};
"""
