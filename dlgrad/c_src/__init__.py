"""The room of C: the device "cpu".

Floor 4.  Text: `dialect.py` tells the writer what C looks like, `math_source.py` holds the
mathematical functions, `matmul_source.py` the matmul template, `memory_source.py` and
`runtime_source.py` the run time.  Machine: `host.py` knows the processor, `compiler.py` and
`probe.py` the compiler, `library.py` loads what it made, `runtime.py` launches it, `roofs.py`
measures how fast it could be, and `backend.py` is the door to all of it.
"""
