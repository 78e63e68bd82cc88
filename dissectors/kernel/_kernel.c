/* The inner loops of reading, for bulk: lines that hold needles, records of text, accesses out of records, rows as text.
 *
 * Each function has a twin in twin.py that says the same in Python; the tests hold the two together. What is read is
 * hostile: every access to memory is bounds-checked, nothing is allocated per record, and a record that is not of the
 * plain form ends a run and is left to the caller, who reads it with all its grammar. No Python object is touched
 * while the interpreter's lock is let go.
 */

#include "record.h"

#include <stdlib.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_AVX2 1
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the layouts in dissectors/kernel/__init__.py are little-endian"
#endif

#define MOST_LINE 65535
#define MOST_FORMS 64
#define LENGTHS 64

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

/* 213@1795406729.213774: as QEMU's log back end prints it. Returns the end or NULL. */
static const uint8_t *pid_at_time(const uint8_t *at, const uint8_t *end, Record *record)
{
    uint64_t thread, seconds, micro;
    const uint8_t *begun = at;
    at = digits(at, end, &thread);
    if (at == NULL || at - begun > 10 || thread > INT32_MAX || at == end || *at != '@')
        return NULL;
    begun = ++at;
    at = digits(at, end, &seconds);
    if (at == NULL || at - begun > 11 || seconds >= 9223372036 || at == end || *at != '.')
        return NULL;
    begun = ++at;
    at = digits(at, end, &micro);
    if (at == NULL || at - begun != 6 || at == end || *at != ':')
        return NULL;
    record->thread = (int32_t)thread;
    record->time_ns = (int64_t)seconds * BILLION + (int64_t)micro * 1000;
    record->clock = CLOCK_WALL;
    return at + 1;
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

/* One line without its newline. */
static int line(const Programs *programs, const uint8_t *data, const uint8_t *at, const uint8_t *end, Record *record)
{
    int dated = 0;
    if (at == end)
        return 0;
    if ((uint8_t)(*at - '0') < 10) {
        dated = end - at > 4 && at[4] == '-';
        at = dated ? iso(at, end, record) : pid_at_time(at, end, record);
        if (at == NULL)
            return 0;
    }
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

/* Up to the first line that is not plain: of another form, or of an access that begins beyond these ports. */
static Py_ssize_t read_lines(const Programs *programs, const uint8_t *data, size_t at, size_t stop, uint64_t base,
                             uint64_t ports, Record *out, size_t most)
{
    size_t count = 0;
    while (count < most && at < stop) {
        const uint8_t *newline = memchr(data + at, '\n', stop - at);
        if (newline == NULL || newline - (data + at) > MOST_LINE)
            break;
        Record *record = &out[count];
        *record = (Record){.time_ns = -1, .thread = -1, .vcpu = -1};
        record->start = (uint32_t)at;
        record->length = (uint32_t)(newline - (data + at) + 1);
        if (!line(programs, data, data + at, newline, record))
            break;
        if (record->has & HAS_ADDRESS ? record->address - base >= ports : !(record->has & HAS_TEXT))
            break;
        at += record->length;
        count++;
    }
    return (Py_ssize_t)count;
}

/* -- accesses out of records: what xptrace.access.coalesce does with those of one thread that follow its plain order */

enum { TELLS_NOTHING, TELLS_ALL, TELLS_CALL, TELLS_LINE };
enum { READ, WRITE, BY_FIELD };

typedef struct {
    uint8_t tells, direction, stage[2]; /* of a read, of a write */
    uint8_t stale;                      /* a read's value is what the page held before */
    uint8_t answers;                    /* ends the access that it is put to */
    uint8_t request;                    /* has a type, and may be of a string access */
    uint8_t unused;
} Event;

typedef struct {
    uint64_t address, value;
    int32_t vcpu;
    uint8_t direction, size, has_value, unused;
} Shape;

_Static_assert(sizeof(Shape) == 24, "a shape is 24 bytes");
_Static_assert(sizeof(Event) == 8, "an event is 8 bytes");

typedef struct {
    uint32_t shape, first, last, said; /* records; said: a line that the device emitted, or NOTHING */
} Access;

#define NOTHING UINT32_MAX

typedef struct {
    Shape shape;
    uint32_t first, last, said;
    int open;
    uint8_t stage, covered;
} Open;

/* The number of a shape; a new one is put to the others. NOTHING where no more fit. `table` has a power of two of
 * places, more than there can be shapes: 0 is a free one, else the number plus one. */
static uint32_t number(const Shape *shape, Shape *shapes, uint32_t *known, size_t most, uint32_t *table, size_t places)
{
    uint64_t hash = shape->address * 0x9E3779B97F4A7C15u ^ shape->value;
    hash ^= ((uint64_t)shape->size << 1 | shape->direction) << 40 ^ (uint64_t)(uint32_t)shape->vcpu << 8;
    hash *= 0xD6E8FEB86659FD93u;
    size_t place = (size_t)(hash >> 32) & (places - 1);
    for (size_t tried = 0; tried < places; tried++, place = (place + 1) & (places - 1)) {
        if (table[place] == 0) {
            if (*known == most)
                return NOTHING;
            shapes[*known] = *shape;
            table[place] = ++*known;
            return *known - 1;
        }
        if (table[place] <= most && memcmp(&shapes[table[place] - 1], shape, sizeof *shape) == 0)
            return table[place] - 1;
    }
    return NOTHING;
}

static uint64_t masked(uint64_t value, uint8_t size)
{
    return size >= 8 ? value : value & (((uint64_t)1 << 8 * size) - 1);
}

static int is_size(uint8_t size) { return size == 1 || size == 2 || size == 4 || size == 8; }

/* Whether a record that tells of a whole access is one more of the open one; it is then put to it. */
static int merges(Open *open, uint8_t direction, uint8_t stage, uint64_t address, uint8_t size, int has_value,
                  uint64_t value)
{
    Shape *shape = &open->shape;
    if (!open->open || shape->direction != direction || stage <= open->stage || shape->address != address ||
        shape->size != size || (shape->has_value && has_value && shape->value != value))
        return 0;
    open->stage = stage;
    if (!shape->has_value && has_value) {
        shape->has_value = 1;
        shape->value = value;
    }
    return 1;
}

static int is_call_of(const Open *open, const Record *record, const Event *event, uint64_t value)
{
    const Shape *shape = &open->shape;
    uint8_t direction = event->direction;
    if (!open->open || shape->direction != direction || open->stage > event->stage[direction] ||
        record->address != shape->address + open->covered || open->covered + record->size > shape->size)
        return 0;
    return direction == READ || !shape->has_value || masked(shape->value >> 8 * open->covered, record->size) == value;
}

typedef struct {
    const uint8_t *data;
    size_t size;
    const Record *records;
    size_t count;
    const Event *events;
    size_t kinds;
    const uint8_t *allowed; /* by direction, port - base and size: whether such an access is a plain one */
    uint64_t base;
    size_t ports;
    const uint8_t *region;
    size_t region_length;
    Shape *shapes;
    uint32_t known;
    size_t most_shapes;
    uint32_t *table;
    size_t places;
    Access *out;
    size_t most;
} Gathering;

/* Fills `out`; returns how many, and how many records they took. What is open at the end is not taken. */
static size_t gather(Gathering *g, size_t *taken)
{
    Open open = {0};
    size_t done = 0, at = 0;
    *taken = 0;
    for (; at < g->count; at++) {
        const Record *record = &g->records[at];
        if (record->event >= g->kinds || record->thread != g->records[0].thread || record->clock != g->records[0].clock)
            break;
        const Event *event = &g->events[record->event];
        if (event->tells == TELLS_LINE) {
            if (!open.open || open.shape.direction != WRITE || open.said != NOTHING || !(record->has & HAS_TEXT))
                break;
            open.said = (uint32_t)at;
            continue;
        }
        const uint16_t told = HAS_ADDRESS | HAS_VALUE | HAS_SIZE;
        if (event->tells == TELLS_NOTHING || (record->has & told) != told || !is_size(record->size))
            break;
        uint64_t value = masked(record->value, record->size);
        if (event->tells == TELLS_CALL) {
            if (!(record->has & HAS_VCPU) || (record->vcpu >= 0 && record->thread < 0) || !(record->has & HAS_TEXT) ||
                record->text_length != g->region_length || record->text > g->size ||
                record->text_length > g->size - record->text ||
                memcmp(g->data + record->text, g->region, g->region_length) != 0 ||
                !is_call_of(&open, record, event, value))
                break;
            if (event->direction == READ) {
                open.shape.value = (open.shape.has_value ? open.shape.value : 0) | value << 8 * open.covered;
                open.shape.has_value = 1;
            }
            open.stage = event->stage[event->direction];
            open.covered += record->size;
            open.shape.vcpu = record->vcpu;
            open.last = (uint32_t)at;
            continue;
        }
        if (event->request && (record->pointer || record->type))
            break;
        uint8_t direction = event->direction;
        if (direction == BY_FIELD) {
            if (!(record->has & HAS_DIRECTION))
                break;
            direction = record->direction == 1 ? READ : WRITE;
        }
        uint64_t port = record->address - g->base;
        if (port >= g->ports || !g->allowed[((size_t)direction * g->ports + (size_t)port) * 9 + record->size])
            break;
        int has_value = !(event->stale && direction == READ);
        if (!has_value)
            value = 0;
        uint8_t stage = event->stage[direction];
        if (merges(&open, direction, stage, record->address, record->size, has_value, value)) {
            open.last = (uint32_t)at;
            if (!event->answers)
                continue;
        } else if (!open.open) {
            goto begin;
        }
        if (done == g->most)
            break;
        uint32_t shape = number(&open.shape, g->shapes, &g->known, g->most_shapes, g->table, g->places);
        if (shape == NOTHING)
            break;
        g->out[done++] = (Access){shape, open.first, open.last, open.said};
        open.open = 0;
        if (open.last == at) {
            *taken = at + 1;
            continue;
        }
    begin:
        *taken = at;
        memset(&open, 0, sizeof open);
        open.open = 1;
        open.shape.direction = direction;
        open.shape.address = record->address;
        open.shape.size = record->size;
        open.shape.has_value = (uint8_t)has_value;
        open.shape.value = value;
        open.shape.vcpu = -1;
        open.stage = stage;
        open.first = open.last = (uint32_t)at;
        open.said = NOTHING;
    }
    return done;
}

/* -- rows as text: the pieces of a row that are always the same, and its numbers between them */

#define WHOLE UINT64_MAX
#define MOST_COLUMNS 64

/* The absolute value; that of the least number is one more than the greatest. */
static uint64_t size_of(int64_t value) { return value < 0 ? 0 - (uint64_t)value : (uint64_t)value; }

/* How many bytes a number takes. */
static size_t width(int64_t value)
{
    size_t count = 1 + (value < 0);
    for (uint64_t left = size_of(value); left >= 10; left /= 10)
        count++;
    return count;
}

static size_t written(uint8_t *out, int64_t value)
{
    uint8_t reversed[20];
    size_t count = 0, length = 0;
    uint64_t left = size_of(value);
    if (value < 0)
        out[length++] = '-';
    do {
        reversed[count++] = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left);
    while (count)
        out[length++] = reversed[--count];
    return length;
}

/* `pieces` are offsets into `text`: of each template `columns` + 2, where its pieces begin and the last one ends. One
 * without numbers has a first piece, and WHOLE behind its end. */
static void fill(uint8_t *out, const uint8_t *text, const uint64_t *pieces, const uint32_t *which, size_t rows,
                 const int64_t *numbers, size_t columns)
{
    for (size_t row = 0; row < rows; row++) {
        const uint64_t *piece = pieces + (size_t)which[row] * (columns + 2);
        size_t between = columns && piece[2] == WHOLE ? 0 : columns;
        for (size_t column = 0; column <= between; column++) {
            size_t size = (size_t)(piece[column + 1] - piece[column]);
            memcpy(out, text + piece[column], size);
            out += size;
            if (column < between)
                out += written(out, numbers[row * columns + column]);
        }
    }
}

/* -- lines that hold needles: three places of each pattern, the rarest, are looked for at every byte at once */

enum { PLACES = 3, BUCKETS = 8, MOST_PATTERNS = 256 };

typedef struct {
    const uint8_t *sets; /* 32 bytes a position: which of 256 bytes may stand there */
    uint8_t length, key, bucket;
} Pattern;

typedef struct {
    Pattern patterns[MOST_PATTERNS];
    size_t count;
    uint8_t low[PLACES][16], high[PLACES][16]; /* buckets by the nibbles of a byte */
    uint8_t whole[PLACES][256];                /* buckets by the byte */
    int wide; /* whether to look at 32 places at once */
} Search;

static int in_set(const uint8_t *set, uint8_t byte) { return set[byte >> 3] >> (byte & 7) & 1; }

/* Each pattern: its length, the position of the first of its three places, its bucket; then its sets. */
static int load_patterns(Search *search, const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    memset(search, 0, sizeof *search);
    while (at < end) {
        if (end - at < 3 || search->count == MOST_PATTERNS)
            return 0;
        Pattern *pattern = &search->patterns[search->count++];
        pattern->length = at[0];
        pattern->key = at[1];
        pattern->bucket = at[2];
        at += 3;
        if (pattern->key + PLACES > pattern->length || pattern->bucket >= BUCKETS || end - at < 32 * pattern->length)
            return 0;
        pattern->sets = at;
        at += 32 * pattern->length;
        uint8_t bit = (uint8_t)(1 << pattern->bucket);
        for (int place = 0; place < PLACES; place++)
            for (int byte = 0; byte < 256; byte++)
                if (in_set(pattern->sets + 32 * (pattern->key + place), (uint8_t)byte)) {
                    search->whole[place][byte] |= bit;
                    search->low[place][byte & 15] |= bit;
                    search->high[place][byte >> 4] |= bit;
                }
    }
    return 1;
}

/* Whether a pattern of these buckets has its three places at `at`, and all of it around them in the line. A set may
 * hold a newline; only the line's own is taken for it. */
static int verified(const Search *search, const uint8_t *data, size_t at, size_t size, uint8_t buckets)
{
    for (size_t i = 0; i < search->count; i++) {
        const Pattern *pattern = &search->patterns[i];
        if (!(buckets >> pattern->bucket & 1) || at < pattern->key || size - (at - pattern->key) < pattern->length)
            continue;
        const uint8_t *first = data + at - pattern->key;
        size_t position = 0;
        while (position < pattern->length && in_set(pattern->sets + 32 * position, first[position]))
            position++;
        if (position == pattern->length && memchr(first, '\n', position - 1) == NULL)
            return 1;
    }
    return 0;
}

/* The next place from `at` on where the three places of some pattern may stand, and of which buckets; `stop` if none.
 * Both forms look at no byte from `size` on. */
static size_t candidate_plain(const Search *search, const uint8_t *data, size_t at, size_t size, uint8_t *buckets)
{
    for (; at + PLACES <= size; at++) {
        uint8_t found = search->whole[0][data[at]] & search->whole[1][data[at + 1]] & search->whole[2][data[at + 2]];
        if (found) {
            *buckets = found;
            return at;
        }
    }
    return size;
}

#ifdef HAS_AVX2
__attribute__((target("avx2"))) static size_t candidate_avx2(const Search *search, const uint8_t *data, size_t at,
                                                             size_t size, uint8_t *buckets)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low[PLACES], high[PLACES];
    for (int place = 0; place < PLACES; place++) {
        low[place] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)search->low[place]));
        high[place] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)search->high[place]));
    }
    for (; at + 32 + PLACES - 1 <= size; at += 32) {
        __m256i found = _mm256_set1_epi8(-1);
        for (int place = 0; place < PLACES; place++) {
            __m256i bytes = _mm256_loadu_si256((const __m256i *)(data + at + place));
            __m256i by_low = _mm256_shuffle_epi8(low[place], _mm256_and_si256(bytes, nibble));
            __m256i by_high = _mm256_shuffle_epi8(high[place], _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble));
            found = _mm256_and_si256(found, _mm256_and_si256(by_low, by_high));
        }
        uint32_t hits = ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(found, _mm256_setzero_si256()));
        while (hits) {
            size_t place = at + (size_t)__builtin_ctz(hits);
            uint8_t exact = search->whole[0][data[place]] & search->whole[1][data[place + 1]] &
                            search->whole[2][data[place + 2]];
            if (exact) {
                *buckets = exact;
                return place;
            }
            hits &= hits - 1;
        }
    }
    return candidate_plain(search, data, at, size, buckets);
}
#endif

static size_t candidate(const Search *search, const uint8_t *data, size_t at, size_t size, uint8_t *buckets)
{
#ifdef HAS_AVX2
    if (search->wide)
        return candidate_avx2(search, data, at, size, buckets);
#endif
    return candidate_plain(search, data, at, size, buckets);
}

static size_t newlines(const uint8_t *data, size_t size)
{
    size_t count = 0;
    while (size) {
        size_t part = size < 4096 ? size : 4096;
        uint32_t found = 0;
        for (size_t i = 0; i < part; i++)
            found += data[i] == '\n';
        count += found;
        data += part;
        size -= part;
    }
    return count;
}

static size_t line_start(const uint8_t *data, size_t at)
{
    while (at && data[at - 1] != '\n')
        at--;
    return at;
}

/* Start, end and number of every line that holds a pattern; returns how many. What lies before `*at` is not looked at:
 * a line begins there, whose number is `*line`; both then say how far the search came. */
static size_t search_lines(const Search *search, const uint8_t *data, size_t size, uint64_t *out, size_t most, size_t *at,
                           size_t *line)
{
    const uint8_t *from = data + *at;
    size_t left = size - *at, count = 0, place = 0, counted = 0, lines = *line;
    uint8_t buckets = 0;
    while (count < most && (place = candidate(search, from, place, left, &buckets)) < left) {
        if (!verified(search, from, place, left, buckets)) {
            place++;
            continue;
        }
        size_t start = line_start(from, place);
        const uint8_t *newline = memchr(from + place, '\n', left - place);
        size_t end = newline == NULL ? left : (size_t)(newline - from) + 1;
        lines += newlines(from + counted, start - counted);
        out[3 * count] = *at + start;
        out[3 * count + 1] = *at + end;
        out[3 * count++ + 2] = lines;
        counted = start;
        place = end;
    }
    *line = lines + newlines(from + counted, place - counted);
    *at += place;
    return count;
}

/* -- the module */

typedef struct {
    int wide; /* whether this processor has AVX2, and it is wanted */
} State;

/* A buffer of records of any kind, whose numbers have 64 bits at most; raises what is wrong. */
static int get(PyObject *object, Py_buffer *view, int writable)
{
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return 0;
    if ((uintptr_t)view->buf % sizeof(uint64_t) == 0 || view->len == 0)
        return 1;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "a buffer is not aligned");
    return 0;
}

static PyObject *py_read_lines(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer data, programs, out;
    PyObject *of;
    Py_ssize_t start, stop;
    unsigned long long base, ports;
    if (!PyArg_ParseTuple(args, "y*nny*KKO", &data, &start, &stop, &programs, &base, &ports, &of))
        return NULL;
    if (!get(of, &out, 1)) {
        PyBuffer_Release(&data);
        PyBuffer_Release(&programs);
        return NULL;
    }
    Py_ssize_t count = -1;
    Programs loaded;
    if (start >= 0 && start <= stop && stop <= data.len && data.len <= INT32_MAX &&
        load(&loaded, programs.buf, (size_t)programs.len)) {
        Py_BEGIN_ALLOW_THREADS
        count = read_lines(&loaded, data.buf, (size_t)start, (size_t)stop, base, ports, out.buf,
                           (size_t)out.len / sizeof(Record));
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&programs);
    PyBuffer_Release(&out);
    if (count < 0) {
        PyErr_SetString(PyExc_ValueError, "no such window, or no programs");
        return NULL;
    }
    return PyLong_FromSsize_t(count);
}

/* Whether nothing is beyond what the tables have room for. */
static int is_sound(const Gathering *g)
{
    if (g->places & (g->places - 1) || g->places <= g->most_shapes || g->known > g->most_shapes ||
        g->most_shapes >= NOTHING || g->count >= NOTHING)
        return 0;
    for (size_t kind = 0; kind < g->kinds; kind++) {
        const Event *event = &g->events[kind];
        if (event->direction > (event->tells == TELLS_ALL ? BY_FIELD : WRITE))
            return 0;
    }
    return 1;
}

static PyObject *gathered(Gathering *g)
{
    if (!is_sound(g)) {
        PyErr_SetString(PyExc_ValueError, "the table of shapes, or an event, does not fit");
        return NULL;
    }
    size_t done, taken = 0;
    Py_BEGIN_ALLOW_THREADS
    done = gather(g, &taken);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("nnn", (Py_ssize_t)done, (Py_ssize_t)taken, (Py_ssize_t)g->known);
}

static PyObject *py_gather(PyObject *module, PyObject *args)
{
    (void)module;
    enum { RECORDS, SHAPES, TABLE, OUT, OBJECTS };
    PyObject *objects[OBJECTS];
    Py_buffer data, events, allowed, region, views[OBJECTS];
    unsigned long long base, known;
    if (!PyArg_ParseTuple(args, "y*Oy*y*Ky*OKOO", &data, &objects[RECORDS], &events, &allowed, &base, &region,
                          &objects[SHAPES], &known, &objects[TABLE], &objects[OUT]))
        return NULL;
    PyObject *result = NULL;
    int have = 0;
    while (have < OBJECTS && get(objects[have], &views[have], have != RECORDS))
        have++;
    if (have == OBJECTS) {
        Gathering g = {
            .data = data.buf, .size = (size_t)data.len,
            .records = views[RECORDS].buf, .count = (size_t)views[RECORDS].len / sizeof(Record),
            .events = events.buf, .kinds = (size_t)events.len / sizeof(Event),
            .allowed = allowed.buf, .base = base, .ports = (size_t)allowed.len / 18,
            .region = region.buf, .region_length = (size_t)region.len,
            .shapes = views[SHAPES].buf, .known = known > UINT32_MAX ? UINT32_MAX : (uint32_t)known,
            .most_shapes = (size_t)views[SHAPES].len / sizeof(Shape),
            .table = views[TABLE].buf, .places = (size_t)views[TABLE].len / sizeof(uint32_t),
            .out = views[OUT].buf, .most = (size_t)views[OUT].len / sizeof(Access),
        };
        result = gathered(&g);
    }
    while (have)
        PyBuffer_Release(&views[--have]);
    PyBuffer_Release(&data);
    PyBuffer_Release(&events);
    PyBuffer_Release(&allowed);
    PyBuffer_Release(&region);
    return result;
}

/* What the rows are made of. */
typedef struct {
    const uint8_t *text;
    size_t size;
    const uint64_t *pieces;
    size_t templates;
    const uint32_t *which;
    size_t rows;
    const int64_t *numbers;
    size_t count, columns;
} Filling;

/* How long the text of all rows is; SIZE_MAX where they have no templates, or too much text. */
static size_t length_of_text(const Filling *f)
{
    size_t wide = f->columns + 2, total = 0;
    if (f->count != f->rows * f->columns)
        return SIZE_MAX;
    for (size_t i = 0; i < f->templates; i++) {
        const uint64_t *own = f->pieces + i * wide;
        size_t ends = f->columns && own[2] == WHOLE ? 2 : wide;
        for (size_t j = 0; j < ends; j++)
            if (own[j] > f->size || (j && own[j] < own[j - 1]))
                return SIZE_MAX;
    }
    for (size_t row = 0; row < f->rows; row++) {
        if (f->which[row] >= f->templates)
            return SIZE_MAX;
        const uint64_t *own = f->pieces + f->which[row] * wide;
        int whole = f->columns && own[2] == WHOLE;
        total += (size_t)(own[whole ? 1 : wide - 1] - own[0]);
        for (size_t column = 0; !whole && column < f->columns; column++)
            total += width(f->numbers[row * f->columns + column]);
        if (total > PY_SSIZE_T_MAX / 2)
            return SIZE_MAX;
    }
    return total;
}

static PyObject *filled(const Filling *f)
{
    size_t length;
    Py_BEGIN_ALLOW_THREADS
    length = length_of_text(f);
    Py_END_ALLOW_THREADS
    if (length == SIZE_MAX) {
        PyErr_SetString(PyExc_ValueError, "rows without templates");
        return NULL;
    }
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (text == NULL)
        return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(text);
    Py_BEGIN_ALLOW_THREADS
    fill(out, f->text, f->pieces, f->which, f->rows, f->numbers, f->columns);
    Py_END_ALLOW_THREADS
    return text;
}

static PyObject *py_fill(PyObject *module, PyObject *args)
{
    (void)module;
    enum { PIECES, WHICH, NUMBERS, OBJECTS };
    PyObject *objects[OBJECTS];
    Py_buffer text, views[OBJECTS];
    Py_ssize_t columns;
    if (!PyArg_ParseTuple(args, "y*OOOn", &text, &objects[PIECES], &objects[WHICH], &objects[NUMBERS], &columns))
        return NULL;
    PyObject *result = NULL;
    int have = 0;
    while (have < OBJECTS && get(objects[have], &views[have], 0))
        have++;
    if (have == OBJECTS && (columns < 0 || columns >= MOST_COLUMNS))
        PyErr_SetString(PyExc_ValueError, "no such number of columns");
    else if (have == OBJECTS) {
        Filling f = {
            .text = text.buf, .size = (size_t)text.len,
            .pieces = views[PIECES].buf,
            .templates = (size_t)views[PIECES].len / sizeof(uint64_t) / ((size_t)columns + 2),
            .which = views[WHICH].buf, .rows = (size_t)views[WHICH].len / sizeof(uint32_t),
            .numbers = views[NUMBERS].buf, .count = (size_t)views[NUMBERS].len / sizeof(int64_t),
            .columns = (size_t)columns,
        };
        result = filled(&f);
    }
    while (have)
        PyBuffer_Release(&views[--have]);
    PyBuffer_Release(&text);
    return result;
}

static PyObject *py_search(PyObject *module, PyObject *args)
{
    const State *state = PyModule_GetState(module);
    Py_buffer data, patterns, out;
    PyObject *of;
    Py_ssize_t at, line;
    if (!PyArg_ParseTuple(args, "y*ny*On", &data, &at, &patterns, &of, &line))
        return NULL;
    PyObject *result = NULL;
    if (get(of, &out, 1)) {
        Search *search = PyMem_Malloc(sizeof *search);
        if (search == NULL)
            PyErr_NoMemory();
        else if (at < 0 || at > data.len || line < 0 || !load_patterns(search, patterns.buf, (size_t)patterns.len))
            PyErr_SetString(PyExc_ValueError, "no such place, or no patterns");
        else {
            search->wide = state->wide;
            size_t count, place = (size_t)at, number_at = (size_t)line;
            Py_BEGIN_ALLOW_THREADS
            count = search_lines(search, data.buf, (size_t)data.len, out.buf, (size_t)out.len / 24, &place, &number_at);
            Py_END_ALLOW_THREADS
            result = Py_BuildValue("nnn", (Py_ssize_t)count, (Py_ssize_t)place, (Py_ssize_t)number_at);
        }
        PyMem_Free(search);
        PyBuffer_Release(&out);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&patterns);
    return result;
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
    {"read_lines", py_read_lines, METH_VARARGS, "read_lines(data, start, stop, programs, base, ports, out) -> records"},
    {"gather", py_gather, METH_VARARGS,
     "gather(data, records, events, allowed, base, region, shapes, known, table, out) -> (accesses, records, shapes)"},
    {"fill", py_fill, METH_VARARGS, "fill(text, pieces, which, numbers, columns) -> bytes"},
    {"span", kernel_span, METH_VARARGS,
     "span(data, start, stop, classes, ports, processor, out) -> (told, records, words, timed)"},
    {"pass_over", kernel_pass_over, METH_VARARGS,
     "pass_over(data, start, stop, forms, kinds, ignored, near, process) -> (records, told, place, reached)"},
    {"walk", kernel_walk, METH_VARARGS, "walk(data, start, stop, forms, base, ports, out) -> records"},
    {"search", py_search, METH_VARARGS, "search(data, at, patterns, out, line) -> (lines found, place, line)"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, (void *)begin}, {0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernel", "The inner loops of reading; twin.py says the same in Python.", sizeof(State),
    METHODS, SLOTS, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&MODULE); }
