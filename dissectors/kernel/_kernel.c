/* The inner loops of reading, for bulk: lines that hold needles, records of text, accesses out of records, rows as text.
 *
 * Each function has a twin in twin.py that says the same in Python; the tests hold the two together. What is read is
 * hostile: every access to memory is bounds-checked, nothing is allocated per record, and a record that is not of the
 * plain form ends a run and is left to the caller, who reads it with all its grammar. No Python object is touched
 * while the interpreter's lock is let go.
 */

#include "record.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Blocks of up to 32 MiB are asked of the system once, not again for every window: fresh memory has to be cleared, which
 * takes as long as to read it; what one thread lets go of, any other gets. The GNU C library can be told so. */
static PyObject *keep_memory(PyObject *module, PyObject *nothing)
{
    (void)module;
    (void)nothing;
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_ARENA_MAX, 1);
#endif
    Py_RETURN_NONE;
}

/* XPTRACE_KERNEL=plain does without AVX2. */
static int begin(PyObject *module)
{
    State *state = PyModule_GetState(module);
#ifdef HAS_AVX2
    const char *wanted = getenv("XPTRACE_KERNEL");
    state->wide = __builtin_cpu_supports("avx2") && (wanted == NULL || strcmp(wanted, "plain") != 0);
#endif
    return PyModule_AddIntConstant(module, "AVX2", state->wide);
}

static PyMethodDef METHODS[] = {
    {"read_lines", kernel_read_lines, METH_VARARGS,
     "read_lines(data, start, stop, programs, base, ports, region, out) -> records"},
    {"gather", kernel_gather, METH_VARARGS,
     "gather(records, events, allowed, base, shapes, known, table, out) -> (accesses, records, shapes)"},
    {"keep_memory", keep_memory, METH_NOARGS, "keep_memory() -> None"},
    {"fill", kernel_fill, METH_VARARGS, "fill(text, pieces, which, numbers, columns) -> bytes"},
    {"span", kernel_span, METH_VARARGS,
     "span(data, start, stop, classes, ports, processor, out) -> (told, records, words, timed)"},
    {"pass_over", kernel_pass_over, METH_VARARGS,
     "pass_over(data, start, stop, forms, kinds, ignored, near, process) -> (records, told, place, reached)"},
    {"walk", kernel_walk, METH_VARARGS, "walk(data, start, stop, forms, base, ports, region, out) -> records"},
    {"search", kernel_search, METH_VARARGS, "search(data, at, patterns, out, line) -> (lines found, place, line)"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, (void *)begin}, {0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernel", "The inner loops of reading; twin.py says the same in Python.", sizeof(State),
    METHODS, SLOTS, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&MODULE); }
