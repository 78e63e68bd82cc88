/* Records of QEMU's simple trace back end, for bulk, in little-endian order: those of the accesses to a few ports are
 * read, those of other devices passed over.
 *
 * Law: QEMU's trace/simple.c. In front of its arguments a record has the number of its event, its time, its length and
 * a process id (8, 8, 4 and 4 bytes), since version 4 of the format behind a type of 8 bytes. An argument is 8 bytes, a
 * text is its length in 4 bytes and that many more. twin_walk.py says the same in Python.
 */

#include "record.h"

/* What has just been stored number by number is loaded so too: a wider load would have to wait for the stores. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-vectorize")
#endif

#ifdef __GNUC__
#define INLINE __attribute__((always_inline)) static inline
#else
#define INLINE static inline
#endif

#define MOST_FORMS 64
#define MOST_ARGUMENTS 16
#define BUCKETS 256
#define HEAD 24
#define TYPE 8
#define TYPE_EVENT 1
#define LONGEST_RECORD (4096 * 64)
#define HEADER 16

enum { IS_TYPED = 1, HAS_PROCESS = 2 };
enum { ARGUMENT_TEXT, ARGUMENT_WIDTH, ARGUMENT_UNSIGNED, ARGUMENT_SIGNED };

enum { SLOTS = SLOT_TEXT, NOWHERE = SLOTS };

typedef struct {
    uint64_t forbidden[MOST_ARGUMENTS]; /* the bits of a number that must be zero */
    uint8_t place[MOST_ARGUMENTS];      /* of a text: whether it has one */
    uint8_t kind[MOST_ARGUMENTS];
    uint64_t no_vcpu; /* the bits of a vCPU that must be zero, unless it may be -1 and is */
    uint32_t id;
    uint16_t has, widths; /* widths: a bit for each number before the first text that is a letter */
    uint8_t event, count, never, needs_vcpu;
    uint8_t lead; /* numbers before the first text */
    int8_t next;  /* the next form whose event's number ends alike */
} Form;

typedef struct {
    Form forms[MOST_FORMS];
    int8_t first[BUCKETS];
    int count, is_typed, has_process;
} Table;

/* What a file begins with: 64 bits that are all ones, and a magic number, in either order. */
static const uint64_t MAGIC = 0xF2B177CB0AA429B4u, CIGAM = 0xB429A40ACB77B1F2u;

static inline uint32_t half(const uint8_t *at)
{
    uint32_t all;
    memcpy(&all, at, sizeof all);
    return all;
}

/* The greatest number that a place takes. */
static uint64_t greatest(uint8_t slot)
{
    switch (slot) {
    case SLOT_ADDRESS:
    case SLOT_VALUE:
    case SLOT_NONE:
        return UINT64_MAX;
    case SLOT_COUNT:
        return UINT32_MAX;
    case SLOT_VCPU:
        return INT32_MAX;
    }
    return UINT8_MAX;
}

/* An argument's kind, bits and place, of which each is taken once; of numbers below zero only a vCPU may be -1. */
static void load_argument(Form *form, const uint8_t *at)
{
    int place = form->count++;
    uint8_t kind = at[0], bits = at[1], slot = at[2];
    form->kind[place] = kind;
    if (kind == ARGUMENT_TEXT) {
        form->place[place] = slot == SLOT_TEXT;
        form->has |= slot == SLOT_TEXT ? HAS_TEXT : 0;
        return;
    }
    uint64_t limit = UINT64_MAX;
    if (kind == ARGUMENT_UNSIGNED && bits < 64)
        limit = ((uint64_t)1 << bits) - 1;
    if (kind == ARGUMENT_SIGNED)
        limit = bits - 1u < 63 ? ((uint64_t)1 << (bits - 1)) - 1 : INT64_MAX;
    uint64_t forbidden = ~(limit & greatest(slot));
    form->needs_vcpu |= slot == SLOT_VCPU && (kind != ARGUMENT_SIGNED || bits == 1);
    if (slot == SLOT_VCPU)
        form->no_vcpu = forbidden;
    form->forbidden[place] = slot == SLOT_VCPU || kind == ARGUMENT_WIDTH ? 0 : forbidden;
    form->place[place] = slot < SLOTS ? slot : NOWHERE;
    form->never |= kind > ARGUMENT_SIGNED || (slot >= SLOTS && slot != SLOT_NONE) ||
                   (slot < SLOTS && form->has >> slot & 1);
    form->has |= slot < SLOTS ? (uint16_t)(1 << slot) : 0;
    if (form->lead == place) {
        form->widths |= (uint16_t)((kind == ARGUMENT_WIDTH) << place);
        form->lead++;
    }
}

/* What every record has; then each form: the number of its event in the file, the event, how many arguments, and these.
 */
static int load(Table *table, const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    int8_t last[BUCKETS];
    memset(table->first, -1, sizeof table->first);
    memset(last, -1, sizeof last);
    table->count = 0;
    if (at == end)
        return 0;
    table->is_typed = *at & IS_TYPED;
    table->has_process = *at++ & HAS_PROCESS;
    while (at < end) {
        if (end - at < 6 || table->count == MOST_FORMS)
            return 0;
        Form *form = &table->forms[table->count];
        *form = (Form){.id = half(at), .event = at[4], .next = -1};
        int arguments = at[5];
        at += 6;
        if (arguments > MOST_ARGUMENTS || end - at < 3 * arguments)
            return 0;
        for (; arguments; arguments--, at += 3)
            load_argument(form, at);
        uint8_t bucket = (uint8_t)form->id;
        if (last[bucket] < 0)
            table->first[bucket] = (int8_t)table->count;
        else
            table->forms[last[bucket]].next = (int8_t)table->count;
        last[bucket] = (int8_t)table->count++;
    }
    return 1;
}

/* Whether a file begins at one of these places. */
static int has_header(const uint8_t *at, const uint8_t *end, const uint8_t *data_end)
{
    for (; at < end && data_end - at >= HEADER; at++)
        if (word(at) == UINT64_MAX && (word(at + 8) == MAGIC || word(at + 8) == CIGAM))
            return 1;
    return 0;
}

/* Whether a file begins in a number whose last byte is all ones: then so is the next one, or it is the magic's first. */
static inline int holds_header(const uint8_t *at, const uint8_t *data_end)
{
    if (data_end - at < HEADER || (at[8] != 0xFF && at[8] != (uint8_t)MAGIC && at[8] != (uint8_t)CIGAM))
        return 0;
    return has_header(at, at + 8, data_end);
}

/* Whether a byte of a text is all ones. */
static inline int has_ones(const uint8_t *at, size_t length)
{
    uint64_t bits = 0; /* ASCII has the highest bit of no byte */
    size_t done = 0;
    for (; length - done >= 8; done += 8)
        bits |= word(at + done);
    for (; done < length; done++)
        bits |= (uint64_t)at[done] << 56;
    return (bits & 0x8080808080808080u) && memchr(at, 0xFF, length) != NULL;
}

/* The access size that a letter stands for; 0 for any other number. */
static inline uint64_t width(uint64_t letter) { return letter == 'b' ? 1 : letter == 'w' ? 2 : letter == 'l' ? 4 : 0; }

enum { READ_YES, READ_NO, READ_UNSURE };

/* Whether the bytes from `at` to `end` are arguments of this form. NO only where they are too many or too few: then the
 * next form is tried. Where a file begins in them, the record is broken off: its first eight bytes are all ones, so that
 * they begin in a text, or hold the last byte of a number. */
INLINE int arguments(const Form *form, const uint8_t *data, const uint8_t *data_end, const uint8_t *at,
                     const uint8_t *end, Record *record)
{
    uint64_t told[SLOTS + 1] = {[SLOT_VCPU] = UINT64_MAX}, wrong = form->never;
    uint64_t high = 0; /* the greatest of the first numbers */
    uint32_t text = 0, text_length = 0;
    if (end - at < 8 * form->lead)
        return READ_NO;
    for (int i = 0; i < form->lead; i++) {
        uint64_t value = word(at + 8 * i);
        wrong |= value & form->forbidden[i];
        high = value > high ? value : high;
        told[form->place[i]] = value;
    }
    for (int i = 0; high >> 56 == 0xFF && i < form->lead; i++)
        wrong |= at[8 * i + 7] == 0xFF && holds_header(at + 8 * i, data_end);
    for (int i = 0, widths = form->widths; widths; i++, widths >>= 1)
        if (widths & 1)
            wrong |= !(told[form->place[i]] = width(word(at + 8 * i)));
    at += 8 * form->lead;
    for (int i = form->lead; i < form->count; i++) {
        if (form->kind[i] == ARGUMENT_TEXT) {
            if (end - at < 4)
                return READ_NO;
            uint32_t length = half(at);
            at += 4;
            if ((size_t)(end - at) < length)
                return READ_NO;
            if (form->place[i]) {
                text = (uint32_t)(at - data);
                text_length = length;
            }
            if (has_ones(at, length))
                wrong |= has_header(at, at + length, data_end);
            at += length;
            continue;
        }
        if (end - at < 8)
            return READ_NO;
        uint64_t value = word(at);
        if (value >> 56 == 0xFF)
            wrong |= holds_header(at, data_end);
        at += 8;
        if (form->kind[i] == ARGUMENT_WIDTH)
            wrong |= !(value = width(value));
        wrong |= value & form->forbidden[i];
        told[form->place[i]] = value;
    }
    wrong |= told[SLOT_VCPU] == UINT64_MAX ? form->needs_vcpu : told[SLOT_VCPU] & form->no_vcpu;
    if (at != end)
        return READ_NO;
    *record = (Record){
        .address = told[SLOT_ADDRESS], .value = told[SLOT_VALUE], .count = (uint32_t)told[SLOT_COUNT],
        .vcpu = (int32_t)told[SLOT_VCPU], .text = text, .text_length = text_length, .has = form->has,
        .event = form->event, .size = (uint8_t)told[SLOT_SIZE], .direction = (uint8_t)told[SLOT_DIRECTION],
        .type = (uint8_t)told[SLOT_TYPE], .pointer = (uint8_t)told[SLOT_POINTER], .clock = CLOCK_SINCE_BOOT,
    };
    return wrong ? READ_UNSURE : READ_YES;
}

/* The head of a record, which ends before `stop`. */
typedef struct {
    uint64_t id, time_ns;
    uint32_t length, process;
    const uint8_t *end;
} Head;

static inline int read_head(const Table *table, const uint8_t *data, size_t at, size_t stop, Head *head)
{
    const size_t type = table->is_typed ? TYPE : 0;
    if (stop - at < type + HEAD || (table->is_typed && word(data + at) != TYPE_EVENT))
        return 0;
    const uint8_t *from = data + at + type;
    *head = (Head){.id = word(from), .time_ns = word(from + 8), .length = half(from + 16),
                   .process = half(from + 20)};
    if (head->length < HEAD || head->length > LONGEST_RECORD || stop - at - type < head->length)
        return 0;
    head->end = from + head->length;
    return 1;
}

/* The record of that head, by the first form of its event that fits. */
INLINE int read_record(const Table *table, const uint8_t *data, size_t size, size_t at, const Head *head,
                       Record *record)
{
    if (head->time_ns > INT64_MAX || head->process > INT32_MAX)
        return 0;
    const uint8_t *from = head->end - head->length;
    int read = READ_NO;
    for (int number = table->first[(uint8_t)head->id]; number >= 0 && read == READ_NO;
         number = table->forms[number].next) {
        const Form *form = &table->forms[number];
        if (form->id != head->id)
            continue;
        read = arguments(form, data, data + size, from + HEAD, head->end, record);
    }
    record->start = (uint32_t)at;
    record->length = (table->is_typed ? TYPE : 0) + head->length;
    record->time_ns = (int64_t)head->time_ns;
    record->thread = table->has_process ? (int32_t)head->process : -1;
    return read == READ_YES;
}

/* Up to the first record that is not plain: of another event, not as its event is declared, of an access that begins
 * beyond these ports, or one that goes beyond `stop`. */
static Py_ssize_t walk(const Table *table, const Ours *ours, const uint8_t *data, size_t size, size_t at, size_t stop,
                       Record *out, size_t most)
{
    size_t count = 0;
    Head head;
    while (count < most && read_head(table, data, at, stop, &head)) {
        Record *record = &out[count];
        if (!read_record(table, data, size, at, &head, record) || !is_of(ours, record))
            break;
        know_region(ours, data, record);
        at += record->length;
        count++;
    }
    return (Py_ssize_t)count;
}

/* -- records of which nobody wants to know */

enum { MEANS_NOTHING, MEANS_ACCESS, MEANS_CALL, MEANS_REQUEST };

#define NAMED_OURS "xen"

typedef struct {
    const uint8_t *kinds, *ignored, *near;
    size_t events, numbers, ranges;
    uint64_t process;
} Passing;

/* Whether a record is of an access that there can be. */
static int is_access(const Record *record, int kind)
{
    const int needed = HAS_ADDRESS | HAS_VALUE | (kind == MEANS_CALL ? HAS_SIZE | HAS_VCPU : 0);
    const int sizes = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8;
    if (kind == MEANS_NOTHING || (record->has & needed) != needed)
        return 0;
    return !(record->has & HAS_SIZE) || (record->size <= 8 && sizes >> record->size & 1);
}

/* Whether it is one to memory or a port of another device, and cannot be of anything else. */
static int is_elsewhere(const Passing *passing, const uint8_t *data, const Record *record)
{
    if (record->type > 1)
        return 0;
    if (record->text_length >= sizeof NAMED_OURS - 1 &&
        same(data + record->text, (const uint8_t *)NAMED_OURS, sizeof NAMED_OURS - 1))
        return 0;
    for (const uint8_t *range = passing->near; range < passing->near + 16 * passing->ranges; range += 16) {
        if (record->address >= word(range) && record->address < word(range + 8))
            return 0;
    }
    return 1;
}

/* Whether nothing goes on with a record: whatever was open, it is over, and an access begins. `before` is the record
 * before it, if `kind_before` says that there is one; `repeats` whether a string access may be open. */
static int begins(const Record *record, int kind, const Record *before, int kind_before, int repeats)
{
    if (kind == MEANS_REQUEST)
        return 1;
    if (kind_before == MEANS_NOTHING)
        return 0;
    if (kind == MEANS_CALL && kind_before == MEANS_CALL)
        return record->address != before->address + before->size && (record->address != before->address || !repeats);
    if (kind == MEANS_CALL)
        return record->address != before->address;
    if (kind_before == MEANS_CALL)
        return record->address > before->address;
    return record->address != before->address || (record->event == before->event && !repeats);
}

/* Where it ends to pass over records, how many there are before it, and where no further one could be read. */
typedef struct {
    size_t records, told, at, reached;
} Passed;

static Passed pass_over(const Table *table, const Passing *passing, const uint8_t *data, size_t size, size_t at,
                        size_t stop)
{
    Passed passed = {.at = at}, so_far = {.at = at};
    Record records[2] = {{.start = 0}};
    int kind_before = MEANS_NOTHING, repeats = 1;
    Head head;
    while (read_head(table, data, so_far.at, stop, &head)) {
        if (head.id / 8 < passing->numbers && passing->ignored[head.id / 8] >> head.id % 8 & 1) {
            if (!so_far.told)
                passed = so_far;
        } else {
            Record *record = &records[so_far.told % 2];
            const Record *before = &records[(so_far.told + 1) % 2];
            if (head.process != passing->process || !read_record(table, data, size, so_far.at, &head, record))
                break;
            int kind = record->event < passing->events ? passing->kinds[record->event] : MEANS_NOTHING;
            if (!is_access(record, kind))
                break;
            if (begins(record, kind, before, kind_before, repeats)) {
                passed = so_far;
                repeats = 0;
            }
            if (!is_elsewhere(passing, data, record))
                break;
            repeats |= record->pointer;
            kind_before = kind;
            so_far.told++;
        }
        so_far.records++;
        so_far.at = (size_t)(head.end - data);
    }
    passed.reached = so_far.at;
    return passed;
}

PyObject *kernel_pass_over(PyObject *module, PyObject *args)
{
    (void)module;
    enum { DATA, FORMS, KINDS, IGNORED, NEAR, OBJECTS };
    Py_buffer views[OBJECTS];
    Py_ssize_t start, stop;
    long long process;
    if (!PyArg_ParseTuple(args, "y*nny*y*y*y*L", &views[DATA], &start, &stop, &views[FORMS], &views[KINDS],
                          &views[IGNORED], &views[NEAR], &process))
        return NULL;
    const Py_buffer *data = &views[DATA];
    Table table;
    Passed passed;
    int fits = start >= 0 && start <= stop && stop <= data->len && data->len <= INT32_MAX &&
               views[NEAR].len % 16 == 0 && load(&table, views[FORMS].buf, (size_t)views[FORMS].len);
    if (fits) {
        const Passing passing = {
            .kinds = views[KINDS].buf, .events = (size_t)views[KINDS].len,
            .ignored = views[IGNORED].buf, .numbers = (size_t)views[IGNORED].len,
            .near = views[NEAR].buf, .ranges = (size_t)views[NEAR].len / 16, .process = (uint64_t)process,
        };
        Py_BEGIN_ALLOW_THREADS
        passed = pass_over(&table, &passing, data->buf, (size_t)data->len, (size_t)start, (size_t)stop);
        Py_END_ALLOW_THREADS
    }
    for (int one = 0; one < OBJECTS; one++)
        PyBuffer_Release(&views[one]);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "no such window, no table, or no ranges");
        return NULL;
    }
    return Py_BuildValue("nnnn", (Py_ssize_t)passed.records, (Py_ssize_t)passed.told, (Py_ssize_t)passed.at,
                         (Py_ssize_t)passed.reached);
}

PyObject *kernel_walk(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data, forms, region, out;
    PyObject *of;
    Py_ssize_t start, stop;
    unsigned long long base, ports;
    if (!PyArg_ParseTuple(args, "y*nny*KKy*O", &data, &start, &stop, &forms, &base, &ports, &region, &of))
        return NULL;
    if (!get(of, &out, 1)) {
        PyBuffer_Release(&data);
        PyBuffer_Release(&forms);
        PyBuffer_Release(&region);
        return NULL;
    }
    const Ours ours = {base, ports, region.buf, (size_t)region.len};
    Py_ssize_t count = -1;
    Table table;
    if (start >= 0 && start <= stop && stop <= data.len && data.len <= INT32_MAX &&
        load(&table, forms.buf, (size_t)forms.len)) {
        Py_BEGIN_ALLOW_THREADS
        count = walk(&table, &ours, data.buf, (size_t)data.len, (size_t)start, (size_t)stop, out.buf,
                     (size_t)out.len / sizeof(Record));
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&forms);
    PyBuffer_Release(&region);
    PyBuffer_Release(&out);
    if (count < 0) {
        PyErr_SetString(PyExc_ValueError, "no such window, or no table");
        return NULL;
    }
    return PyLong_FromSsize_t(count);
}
