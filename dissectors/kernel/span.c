/* The records of one processor's window of an xentrace recording: which are told, when, and what ran.
 *
 * Law: xen/include/public/trace.h. The first word of a record has its event in bits 0 to 27, the number of its words in
 * bits 28 to 30, and in bit 31 whether a time stamp of two words follows. dissectors.xen.xentrace_block names the
 * events, and says the same of a whole block at once.
 */

#include "record.h"

enum { CLASSES_BYTES = 1 << 13 }; /* a bit for each value of bits 12 to 27 of a first word */

static const uint32_t EVENT = 0xFFFFFFF, LOST = 0x1F001, CPU_CHANGE = 0x1F003, RUNSTATE = 0x21001,
                      RUNSTATE_BITS = 0xFFFF00F, CONTINUES = 0x21002, PORT_READ = 0x82016, PORT_WRITE = 0x82216,
                      OLD_READ = 0x82006, OLD_WRITE = 0x82007;

/* What is known of a processor; dissectors.kernel.PROCESSOR is the same. */
typedef struct {
    uint64_t tsc;
    uint32_t running; /* the domain in the upper, the vCPU in the lower 16 bits */
    uint8_t has_tsc, has_running, scheduled, unused;
} Processor;

/* A record that is told; dissectors.kernel.TOLD is the same. */
typedef struct {
    uint32_t start, number; /* in words from the span's beginning; in records, from 0 */
    Processor then;
} Told;

_Static_assert(sizeof(Processor) == 16, "a processor is 16 bytes");
_Static_assert(sizeof(Told) == 24, "what is told is 24 bytes");

typedef struct {
    const uint8_t *data;
    size_t words;
    const uint8_t *classes;
    const uint32_t *ports; /* pairs: from, up to but without */
    size_t ranges;
    Told *out;
    size_t most;
    size_t at, records, timed; /* timed: the place of the first record with a time, in words; `words` if none */
} Span;

static uint32_t word_at(const Span *span, size_t word)
{
    const uint8_t *at = span->data + 4 * word;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int is_switch(uint32_t event)
{
    if (event == CONTINUES)
        return 1;
    return (event & RUNSTATE_BITS) == RUNSTATE && ((event & 0xF00) == 0 || (event & 0x0F0) == 0);
}

static void runs(Processor *processor, const Span *span, uint32_t event, size_t payload, size_t extra)
{
    processor->has_running = 0;
    if (event == LOST) {
        if (processor->scheduled && extra >= 2) {
            uint32_t both = word_at(span, payload + 1);
            processor->running = both << 16 | both >> 16;
            processor->has_running = 1;
        }
    } else {
        processor->scheduled = 1;
        if (extra && (event == CONTINUES || (event & 0xF0) == 0)) {
            processor->running = word_at(span, payload);
            processor->has_running = 1;
        }
    }
}

/* Whether an access is to one of the ports, or to what can be none. */
static int is_told(const Span *span, uint32_t event, size_t payload, size_t extra)
{
    int old = event == OLD_READ || event == OLD_WRITE;
    if (!old && event != PORT_READ && event != PORT_WRITE)
        return event == LOST;
    if (extra == 0)
        return 1;
    uint32_t port = word_at(span, payload + (old && extra > 2));
    if (port > 0xFFFF)
        return 1;
    for (size_t range = 0; range < span->ranges; range++)
        if (port >= span->ports[2 * range] && port < span->ports[2 * range + 1])
            return 1;
    return 0;
}

/* Goes on until the span is over, no record can begin, or there is no room for one that is told; returns those. */
static size_t read_span(Span *span, Processor *processor)
{
    size_t count = 0;
    while (span->at < span->words) {
        uint32_t head = word_at(span, span->at), kind = head >> 12 & 0xFFFF, event = head & EVENT;
        size_t extra = head >> 28 & 7, time = 2 * (head >> 31), length = 1 + time + extra;
        if (!(span->classes[kind >> 3] >> (kind & 7) & 1) || length > span->words - span->at || event == CPU_CHANGE)
            break;
        size_t payload = span->at + 1 + time;
        int told = is_told(span, event, payload, extra);
        if (told && count == span->most)
            break;
        if (time) {
            processor->tsc = word_at(span, span->at + 1) | (uint64_t)word_at(span, span->at + 2) << 32;
            processor->has_tsc = 1;
            if (span->timed == span->words)
                span->timed = span->at;
        }
        if (event == LOST || is_switch(event))
            runs(processor, span, event, payload, extra);
        if (told)
            span->out[count++] = (Told){(uint32_t)span->at, (uint32_t)span->records, *processor};
        span->at += length;
        span->records++;
    }
    return count;
}

PyObject *kernel_span(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data, classes, ports, processor, out;
    PyObject *of_processor, *of_out;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTuple(args, "y*nny*y*OO", &data, &start, &stop, &classes, &ports, &of_processor, &of_out))
        return NULL;
    PyObject *result = NULL;
    if (PyObject_GetBuffer(of_processor, &processor, PyBUF_WRITABLE) == 0) {
        if (PyObject_GetBuffer(of_out, &out, PyBUF_WRITABLE) == 0) {
            if (start < 0 || start > stop || stop > data.len || stop - start > INT32_MAX || classes.len != CLASSES_BYTES ||
                processor.len != sizeof(Processor))
                PyErr_SetString(PyExc_ValueError, "no such span, no classes or no processor");
            else {
                Span span = {
                    .data = (const uint8_t *)data.buf + start, .words = (size_t)(stop - start) / 4,
                    .classes = classes.buf, .ports = ports.buf, .ranges = (size_t)ports.len / 8,
                    .out = out.buf, .most = (size_t)out.len / sizeof(Told),
                };
                span.timed = span.words;
                size_t count;
                Py_BEGIN_ALLOW_THREADS
                count = read_span(&span, processor.buf);
                Py_END_ALLOW_THREADS
                result = Py_BuildValue("nnnn", (Py_ssize_t)count, (Py_ssize_t)span.records, (Py_ssize_t)span.at,
                                       (Py_ssize_t)span.timed);
            }
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&processor);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&classes);
    PyBuffer_Release(&ports);
    return result;
}
