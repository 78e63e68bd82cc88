/* One record, whatever it is read from: what the kernel's readers fill, and how. */

#ifndef XPTRACE_RECORD_H
#define XPTRACE_RECORD_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_AVX2 1
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the layouts in dissectors/kernel/__init__.py are little-endian"
#endif

/* -- records: one layout for every source; dissectors.kernel.RECORD is the same as a numpy dtype */

enum { HAS_ADDRESS = 1, HAS_VALUE = 2, HAS_SIZE = 4, HAS_DIRECTION = 8, HAS_TYPE = 16, HAS_POINTER = 32, HAS_COUNT = 64,
       HAS_VCPU = 128, HAS_TEXT = 256, HAS_REGION = 512 };

typedef struct {
    uint32_t start, length; /* in the window; a line's newline is counted */
    int64_t time_ns;        /* -1: none */
    uint64_t address, value;
    uint32_t count;
    int32_t vcpu;
    uint32_t text, text_length; /* in the window */
    int32_t thread;             /* -1: none */
    uint16_t has;
    uint8_t event, size, direction, type, pointer, clock;
    uint32_t unused;
} Record;

_Static_assert(sizeof(Record) == 64, "a record is 64 bytes");

/* The last is CLOCK_MONOTONIC, which C has as a name of something else. */
enum { CLOCK_NONE, CLOCK_WALL, CLOCK_SINCE_BOOT };

/* -- arguments: where each of an event goes */

enum { SLOT_ADDRESS, SLOT_VALUE, SLOT_SIZE, SLOT_DIRECTION, SLOT_TYPE, SLOT_POINTER, SLOT_COUNT, SLOT_VCPU, SLOT_TEXT,
       SLOT_NONE = 255 };

/* Puts an argument into its place; 0 where it does not fit. */
static inline int store(Record *record, uint8_t slot, uint64_t value, int negative)
{
    if (negative) {
        if (slot != SLOT_VCPU || value != 1)
            return 0;
        record->vcpu = -1;
        record->has |= HAS_VCPU;
        return 1;
    }
    switch (slot) {
    case SLOT_NONE:
        return 1;
    case SLOT_ADDRESS:
        record->address = value;
        record->has |= HAS_ADDRESS;
        return 1;
    case SLOT_VALUE:
        record->value = value;
        record->has |= HAS_VALUE;
        return 1;
    case SLOT_COUNT:
        if (value > UINT32_MAX)
            return 0;
        record->count = (uint32_t)value;
        record->has |= HAS_COUNT;
        return 1;
    case SLOT_VCPU:
        if (value > INT32_MAX)
            return 0;
        record->vcpu = (int32_t)value;
        record->has |= HAS_VCPU;
        return 1;
    }
    if (value > UINT8_MAX)
        return 0;
    switch (slot) {
    case SLOT_SIZE:
        record->size = (uint8_t)value;
        record->has |= HAS_SIZE;
        return 1;
    case SLOT_DIRECTION:
        record->direction = (uint8_t)value;
        record->has |= HAS_DIRECTION;
        return 1;
    case SLOT_TYPE:
        record->type = (uint8_t)value;
        record->has |= HAS_TYPE;
        return 1;
    case SLOT_POINTER:
        record->pointer = (uint8_t)value;
        record->has |= HAS_POINTER;
        return 1;
    }
    return 0;
}

/* -- bytes */

static inline uint64_t word(const uint8_t *at)
{
    uint64_t all;
    memcpy(&all, at, sizeof all);
    return all;
}

/* Whether so many bytes are the same; most often they are few. */
static inline int same(const uint8_t *one, const uint8_t *other, size_t count)
{
    if (count > 16)
        return memcmp(one, other, count) == 0;
    if (count >= 8)
        return word(one) == word(other) && word(one + count - 8) == word(other + count - 8);
    while (count && one[count - 1] == other[count - 1])
        count--;
    return count == 0;
}

/* -- plain records */

/* Ports, and the name of the region of memory that they lie in. */
typedef struct {
    uint64_t base, ports;
    const uint8_t *region;
    size_t region_length;
} Ours;

/* Whether a record is of an access that begins at one of these ports, or of text. */
static inline int is_of(const Ours *ours, const Record *record)
{
    return record->has & HAS_ADDRESS ? record->address - ours->base < ours->ports : record->has & HAS_TEXT;
}

/* What the text of a record, which lies in the window, says of the region. */
static inline void know_region(const Ours *ours, const uint8_t *data, Record *record)
{
    if (record->has & HAS_TEXT && record->text_length == ours->region_length &&
        same(data + record->text, ours->region, ours->region_length))
        record->has |= HAS_REGION;
}

/* -- buffers */

/* A buffer of records of any kind, whose numbers have 64 bits at most; raises what is wrong. */
static inline int get(PyObject *object, Py_buffer *view, int writable)
{
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return 0;
    if ((uintptr_t)view->buf % sizeof(uint64_t) == 0 || view->len == 0)
        return 1;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "a buffer is not aligned");
    return 0;
}

/* -- the module's functions, each in a file of its own */

typedef struct {
    int wide; /* whether this processor has AVX2, and it is wanted */
} State;

PyObject *kernel_fill(PyObject *module, PyObject *args);
PyObject *kernel_gather(PyObject *module, PyObject *args);
PyObject *kernel_pass_over(PyObject *module, PyObject *args);
PyObject *kernel_read_lines(PyObject *module, PyObject *args);
PyObject *kernel_search(PyObject *module, PyObject *args);
PyObject *kernel_span(PyObject *module, PyObject *args);
PyObject *kernel_walk(PyObject *module, PyObject *args);

#endif
