/* Plain lines of text as records: each event by the op-program that its declaration was compiled to. */

#include "record.h"

#include <stddef.h>

#define MOST_LINE 65535
#define MOST_FORMS 64
#define LENGTHS 64
#define FURTHER 1024 /* memory is asked for what lies so much further: by then it is there */

/* -- op-programs: what dissectors.qemu.programs compiles declarations to */

enum { OP_END, OP_LITERAL, OP_DECIMAL, OP_HEXADECIMAL, OP_PREFIXED, OP_POINTER, OP_WIDTH, OP_TEXT };

typedef struct {
    const uint8_t *name, *ops, *end;
    uint8_t event, length;
    int8_t next; /* the next form whose name is as long */
} Form;

typedef struct {
    Form forms[MOST_FORMS];
    int8_t first[LENGTHS];
    int count;
} Programs;

/* Each form: event, length of the name, the name, length of the operations (2 bytes), the operations. */
static int load(Programs *programs, const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    int8_t last[LENGTHS];
    memset(programs->first, -1, sizeof programs->first);
    memset(last, -1, sizeof last);
    programs->count = 0;
    while (at < end) {
        if (end - at < 2 || programs->count == MOST_FORMS)
            return 0;
        Form *form = &programs->forms[programs->count];
        form->event = at[0];
        form->length = at[1];
        at += 2;
        if (form->length >= LENGTHS || end - at < form->length + 2)
            return 0;
        form->name = at;
        at += form->length;
        size_t operations = at[0] | (size_t)at[1] << 8;
        at += 2;
        if ((size_t)(end - at) < operations)
            return 0;
        form->ops = at;
        form->end = at += operations;
        form->next = -1;
        if (last[form->length] < 0)
            programs->first[form->length] = (int8_t)programs->count;
        else
            programs->forms[last[form->length]].next = (int8_t)programs->count;
        last[form->length] = (int8_t)programs->count++;
    }
    return 1;
}

/* By byte: a hexadecimal digit's value plus one. */
static const uint8_t HEXADECIMAL[256] = {['0'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ['a'] = 11, 12, 13, 14, 15, 16};

/* Each of the bytes of a word. */
static const uint64_t EACH = 0x0101010101010101u;

/* The number of eight digits, the first in the lowest byte: pairs are put together, pairs of these, and so on. */
static inline uint64_t together(uint64_t digits, uint64_t base)
{
    digits = (digits * (1 + (base << 8)) >> 8) & 0x00FF00FF00FF00FFu;
    base *= base;
    digits = (digits * (1 + (base << 16)) >> 16) & 0x0000FFFF0000FFFFu;
    base *= base;
    return digits * (1 + (base << 32)) >> 32;
}

/* Eight digits at once; 0 where one of them is none. */
static inline int eight_digits(const uint8_t *at, uint64_t *value)
{
    uint64_t all = word(at) ^ '0' * EACH;
    if ((all | (all + 6 * EACH)) & 0xF0 * EACH)
        return 0;
    *value = together(all, 10);
    return 1;
}

/* A letter's low bits and nine are its value. Written out again, the digits must be what stands there. */
static inline int eight_hex_digits(const uint8_t *at, uint64_t *value)
{
    uint64_t all = word(at), digits = (all & 0x0F * EACH) + 9 * (all >> 6 & EACH);
    uint64_t letters = (digits + 6 * EACH) >> 4 & EACH;
    if (digits & 0xF0 * EACH || digits + '0' * EACH + ('a' - 10 - '0') * letters != all)
        return 0;
    *value = together(digits, 16);
    return 1;
}

/* Up to 18 digits, so that 63 bits hold them. Returns the end, or NULL where there is none or more. */
static inline const uint8_t *digits(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *begun = at;
    uint64_t sum = 0;
    if (end - at >= 8 && eight_digits(at, &sum))
        at += 8;
    while (at < end && (uint8_t)(*at - '0') < 10) {
        if (at - begun == 18)
            return NULL;
        sum = sum * 10 + (uint8_t)(*at++ - '0');
    }
    *value = sum;
    return at == begun ? NULL : at;
}

static inline const uint8_t *hex_digits(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *begun = at;
    uint64_t sum = 0;
    if (end - at >= 8 && eight_hex_digits(at, &sum))
        at += 8;
    uint8_t digit;
    while (at < end && (digit = HEXADECIMAL[*at]) != 0) {
        if (at - begun == 16)
            return NULL;
        sum = sum << 4 | (uint64_t)(digit - 1);
        at++;
    }
    *value = sum;
    return at == begun ? NULL : at;
}

enum { READ_YES, READ_NO, READ_UNSURE };

/* Whether the text from `at` to `end` is of this form. NO only where a literal differs: then the next form is tried;
 * whatever else is unusual is for the caller's grammar. */
static int arguments(const Form *form, const uint8_t *data, const uint8_t *at, const uint8_t *end, Record *record)
{
    const uint8_t *op = form->ops, *stop = form->end;
    uint64_t value;
    while (op < stop) {
        uint8_t code = *op++;
        if (code == OP_END)
            return at == end ? READ_YES : READ_UNSURE;
        if (op == stop)
            return READ_UNSURE;
        uint8_t operand = *op++; /* a length or a slot */
        int negative = 0;
        switch (code) {
        case OP_LITERAL:
            if (stop - op < operand)
                return READ_UNSURE;
            if (end - at < operand || !same(at, op, operand))
                return READ_NO;
            at += operand;
            op += operand;
            continue;
        case OP_DECIMAL:
            if (at < end && *at == '-') {
                negative = 1;
                at++;
            }
            at = digits(at, end, &value);
            break;
        case OP_HEXADECIMAL:
            at = hex_digits(at, end, &value);
            break;
        case OP_PREFIXED: /* %#x: zero has no prefix */
            if (end - at > 2 && at[0] == '0' && at[1] == 'x') {
                if (at[2] == '0')
                    return READ_UNSURE;
                at = hex_digits(at + 2, end, &value);
            } else if (at < end && *at == '0') {
                value = 0;
                at++;
            } else
                return READ_UNSURE;
            break;
        case OP_POINTER:
            if (end - at < 3 || at[0] != '0' || at[1] != 'x')
                return READ_UNSURE;
            at = hex_digits(at + 2, end, &value);
            if (at != NULL && at < end && *at >= 'A' && *at <= 'F') /* the grammar takes a pointer of either case */
                return READ_UNSURE;
            break;
        case OP_WIDTH: /* the letter of an access size */
            if (at == end)
                return READ_UNSURE;
            value = *at == 'b' ? 1 : *at == 'w' ? 2 : *at == 'l' ? 4 : 0;
            if (!value)
                return READ_UNSURE;
            at++;
            break;
        case OP_TEXT: { /* up to what must end the line: length and bytes follow */
            if (op == stop || stop - op < 1 + *op)
                return READ_UNSURE;
            uint8_t tail = *op++;
            if (end - at < tail || memcmp(end - tail, op, tail) != 0)
                return READ_UNSURE;
            op += tail;
            if (operand == SLOT_TEXT) {
                record->text = (uint32_t)(at - data);
                record->text_length = (uint32_t)(end - tail - at);
                record->has |= HAS_TEXT;
            }
            at = end;
            continue;
        }
        default:
            return READ_UNSURE;
        }
        if (at == NULL || !store(record, operand, value, negative))
            return READ_UNSURE;
    }
    return READ_UNSURE;
}

static int two(const uint8_t *at)
{
    uint8_t tens = (uint8_t)(at[0] - '0'), units = (uint8_t)(at[1] - '0');
    return tens > 9 || units > 9 ? -1 : tens * 10 + units;
}

/* Days from 1970-01-01 in the Gregorian calendar, whose cycle of 400 years has 146097 days; 719468 days lie between
 * 0000-03-01 and 1970-01-01. */
static int64_t days(int year, int month, int day)
{
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + (month == 2 && leap))
        return -1;
    int64_t y = month <= 2 ? year - 1 : year; /* years begin in March, so that a leap day ends one */
    int64_t in_cycle = y % 400, in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y / 400 * 146097 + in_cycle * 365 + in_cycle / 4 - in_cycle / 100 + in_year - 719468;
}

static const int64_t BILLION = 1000000000;

/* 2026-11-23T03:25:00.040406Z and a blank, as GLib prints it. Returns the end or NULL. */
static const uint8_t *iso(const uint8_t *at, const uint8_t *end, Record *record)
{
    if (end - at < 21 || at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':')
        return NULL;
    int century = two(at), year = two(at + 2), month = two(at + 5), day = two(at + 8);
    int hour = two(at + 11), minute = two(at + 14), second = two(at + 17);
    if (century < 19 || century > 21 || year < 0 || month < 0 || day < 0 || hour < 0 || hour > 23 || minute < 0 ||
        minute > 59 || second < 0 || second > 60)
        return NULL;
    int64_t since = days(century * 100 + year, month, day);
    if (since < 0)
        return NULL;
    at += 19;
    int64_t fraction = 0;
    if (*at == '.') {
        const uint8_t *begun = ++at;
        int64_t unit = BILLION;
        while (at < end && (uint8_t)(*at - '0') < 10 && at - begun < 9) {
            unit /= 10;
            fraction += unit * (*at++ - '0');
        }
        if (at == begun)
            return NULL;
    }
    if (end - at < 2 || at[0] != 'Z' || at[1] != ' ')
        return NULL;
    record->time_ns = ((since * 24 + hour) * 60 + minute) * 60 * BILLION + second * BILLION + fraction;
    record->clock = CLOCK_WALL;
    return at + 2;
}

/* What stands in front of the microseconds: lines of one second have the same. */
typedef struct {
    const uint8_t *at;
    size_t length; /* 0: there was none */
    int32_t thread;
    int64_t seconds;
} Second;

/* 213@1795406729. as QEMU's log back end prints it. Returns the end or NULL. */
static const uint8_t *pid_at_second(const uint8_t *at, const uint8_t *end, Second *second)
{
    uint64_t thread, seconds;
    const uint8_t *begun = at, *first = at;
    at = digits(at, end, &thread);
    if (at == NULL || at - begun > 10 || thread > INT32_MAX || at == end || *at != '@')
        return NULL;
    begun = ++at;
    at = digits(at, end, &seconds);
    if (at == NULL || at - begun > 11 || seconds >= 9223372036 || at == end || *at != '.')
        return NULL;
    at++;
    *second = (Second){first, (size_t)(at - first), (int32_t)thread, (int64_t)seconds};
    return at;
}

#define MICRO 7 /* 213774: */

/* The microseconds behind a second, of which eight bytes can be read; 0 where they are none. */
static inline int micro(const uint8_t *at, const Second *second, Record *record)
{
    uint64_t all = (word(at) << 16 | ('0' << 8 | '0')) ^ '0' * EACH;
    if ((all | (all + 6 * EACH)) & 0xF0 * EACH || at[MICRO - 1] != ':')
        return 0;
    record->thread = second->thread;
    record->time_ns = second->seconds * BILLION + (int64_t)together(all, 10) * 1000;
    record->clock = CLOCK_WALL;
    return 1;
}

/* 213@1795406729.213774: and what is read of it. Returns the end or NULL. */
static const uint8_t *pid_at_time(const uint8_t *at, const uint8_t *end, Second *second, Record *record)
{
    if (second->length && end - at > (ptrdiff_t)second->length && same(second->at, at, second->length))
        at += second->length;
    else if ((at = pid_at_second(at, end, second)) == NULL)
        return NULL;
    if (end - at <= MICRO || !micro(at, second, record)) /* an event of one letter would be none of ours */
        return NULL;
    return at + MICRO;
}

/* The first blank, or the end. */
static inline const uint8_t *blank(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t others = word(at) ^ ' ' * EACH, zeros = (others - EACH) & ~others & 0x80 * EACH;
        if (zeros)
            return at + __builtin_ctzll(zeros) / 8;
    }
    while (at < end && *at != ' ')
        at++;
    return at;
}

/* What no form has read into. */
static void forget(Record *record)
{
    record->address = record->value = 0;
    record->count = record->text = record->text_length = 0;
    record->vcpu = -1;
    record->has = 0;
    record->size = record->direction = record->type = record->pointer = 0;
}

/* -- what has been read lately: most of a recording says the same again at another time */

#define KNOWN 4096 /* a power of two */

typedef struct {
    uint32_t at, length; /* of the text behind the time, where it came last; no length is a free place */
    uint16_t dated, next; /* next: the place of what came after it */
} Key;

typedef struct {
    Second second;
    uint16_t last; /* the place of the line before */
    Key keys[KNOWN];
    Record records[KNOWN]; /* whose text is counted from there */
} Known;

/* A line that says the same as the one at that place; its text is there now. */
static inline void recall(Known *known, size_t place, const uint8_t *data, const uint8_t *text, Record *record)
{
    Record like = known->records[place];
    like.start = record->start;
    like.length = record->length;
    like.time_ns = record->time_ns;
    like.thread = record->thread;
    like.clock = record->clock;
    known->keys[place].at = (uint32_t)(text - data);
    if (like.has & HAS_TEXT)
        like.text += known->keys[place].at;
    *record = like;
}

/* Whether a line is of the same second as the one before, and says what came after that line the last time. */
static inline int goes_on(Known *known, const uint8_t *data, size_t at, size_t stop, Record *record)
{
    const Second *second = &known->second;
    const size_t place = known->keys[known->last].next;
    const Key *key = &known->keys[place];
    const size_t stamp = second->length + MICRO, size = stamp + key->length;
    const uint8_t *text = data + at + stamp;
    if (!second->length || !key->length || size > MOST_LINE || stop - at <= size ||
        text[key->length] != '\n' || !same(second->at, data + at, second->length) ||
        !micro(text - MICRO, second, record) || memcmp(data + key->at, text, key->length) != 0)
        return 0;
    record->start = (uint32_t)at;
    record->length = (uint32_t)size + 1;
    recall(known, place, data, text, record);
    known->last = (uint16_t)place;
    return 1;
}

/* Any number that tells texts apart: words side by side, the last one up to the end. */
static inline uint64_t hashed(const uint8_t *at, size_t count)
{
    const uint64_t odd = 0x9E3779B97F4A7C15u;
    uint64_t first = count, second = 0;
    const uint8_t *end = at + count;
    for (; end - at >= 16; at += 16) {
        first = (first ^ word(at)) * odd;
        second = (second ^ word(at + 8)) * odd;
        first ^= first >> 32;
        second ^= second >> 32;
    }
    if (count >= 16) {
        first = (first ^ word(end - 16)) * odd;
        second = (second ^ word(end - 8)) * odd;
    }
    first = (first ^ second >> 17) * odd;
    return first >> 32;
}

/* An event and its arguments: all of a line behind its time. */
static int event(const Programs *programs, const uint8_t *data, const uint8_t *at, const uint8_t *end, int dated,
                 Record *record)
{
    const uint8_t *name = at;
    at = blank(at, end);
    if (at == end || at - name >= LENGTHS)
        return 0;
    if (dated) { /* a host's name and a daemon's tag look alike: then a colon ends the next word */
        const uint8_t *word = at + 1;
        while (word < end && *word != ' ' && *word != ':')
            word++;
        if (word < end && *word == ':')
            return 0;
    }
    size_t length = (size_t)(at - name);
    for (int number = programs->first[length]; number >= 0; number = programs->forms[number].next) {
        const Form *form = &programs->forms[number];
        if (!same(form->name, name, length))
            continue;
        record->event = form->event;
        int read = arguments(form, data, at + 1, end, record);
        if (read != READ_NO)
            return read == READ_YES;
        forget(record); /* what this form has read before it was found to differ */
    }
    return 0;
}

/* One line without its newline. */
static int line(const Programs *programs, const Ours *ours, Known *known, const uint8_t *data, const uint8_t *at,
                const uint8_t *end, Record *record)
{
    int dated = 0;
    if (at == end)
        return 0;
    if ((uint8_t)(*at - '0') < 10) {
        dated = end - at > 4 && at[4] == '-';
        at = dated ? iso(at, end, record) : pid_at_time(at, end, &known->second, record);
        if (at == NULL)
            return 0;
    }
    size_t length = (size_t)(end - at), place = hashed(at, length) & (KNOWN - 1);
    Key *key = &known->keys[place];
    known->keys[known->last].next = (uint16_t)place;
    known->last = (uint16_t)place;
    if (length && key->length == length && key->dated == dated && memcmp(data + key->at, at, length) == 0) {
        recall(known, place, data, at, record);
        return 1;
    }
    if (!event(programs, data, at, end, dated, record))
        return 0;
    know_region(ours, data, record);
    Record *like = &known->records[place];
    *like = *record;
    if (like->has & HAS_TEXT)
        like->text -= (uint32_t)(at - data);
    key->at = (uint32_t)(at - data);
    key->length = (uint32_t)length;
    key->dated = (uint16_t)dated;
    return 1;
}

/* Up to the first line that is not plain: of another form, or of an access that begins beyond these ports. */
static Py_ssize_t read_lines(const Programs *programs, const Ours *ours, const uint8_t *data, size_t at, size_t stop,
                             Record *out, size_t most, Known *known)
{
    size_t count = 0;
    known->second.length = known->last = 0;
    memset(known->keys, 0, sizeof known->keys);
    while (count < most && at < stop) {
        __builtin_prefetch(data + (stop - at > FURTHER ? at + FURTHER : at));
        if (goes_on(known, data, at, stop, &out[count])) {
            at += out[count++].length;
            continue;
        }
        const uint8_t *newline = memchr(data + at, '\n', stop - at);
        if (newline == NULL || newline - (data + at) > MOST_LINE)
            break;
        Record *record = &out[count];
        *record = (Record){.time_ns = -1, .thread = -1, .vcpu = -1};
        record->start = (uint32_t)at;
        record->length = (uint32_t)(newline - (data + at) + 1);
        if (!line(programs, ours, known, data, data + at, newline, record) || !is_of(ours, record))
            break;
        at += record->length;
        count++;
    }
    return (Py_ssize_t)count;
}

PyObject *kernel_read_lines(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data, programs, region, out;
    PyObject *of;
    Py_ssize_t start, stop;
    unsigned long long base, ports;
    if (!PyArg_ParseTuple(args, "y*nny*KKy*O", &data, &start, &stop, &programs, &base, &ports, &region, &of))
        return NULL;
    if (!get(of, &out, 1)) {
        PyBuffer_Release(&data);
        PyBuffer_Release(&programs);
        PyBuffer_Release(&region);
        return NULL;
    }
    const Ours ours = {base, ports, region.buf, (size_t)region.len};
    Py_ssize_t count = -1;
    Programs loaded;
    Known *known = PyMem_Malloc(sizeof *known); /* a thread's stack may be as small as that */
    if (known == NULL)
        PyErr_NoMemory();
    else if (start >= 0 && start <= stop && stop <= data.len && data.len <= INT32_MAX &&
        load(&loaded, programs.buf, (size_t)programs.len)) {
        Py_BEGIN_ALLOW_THREADS
        count = read_lines(&loaded, &ours, data.buf, (size_t)start, (size_t)stop, out.buf,
                           (size_t)out.len / sizeof(Record), known);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(known);
    PyBuffer_Release(&data);
    PyBuffer_Release(&programs);
    PyBuffer_Release(&region);
    PyBuffer_Release(&out);
    if (count < 0) {
        if (PyErr_Occurred() == NULL)
            PyErr_SetString(PyExc_ValueError, "no such window, or no programs");
        return NULL;
    }
    return PyLong_FromSsize_t(count);
}
