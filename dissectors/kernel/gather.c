/* Accesses out of records: what xptrace.access.coalesce does with those of one thread that follow its plain order. */

#include "record.h"

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
    const Record *records;
    size_t count;
    const Event *events;
    size_t kinds;
    const uint8_t *allowed; /* by direction, port - base and size: whether such an access is a plain one */
    uint64_t base;
    size_t ports;
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
            const uint16_t called = HAS_VCPU | HAS_REGION;
            if ((record->has & called) != called || (record->vcpu >= 0 && record->thread < 0) ||
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

PyObject *kernel_gather(PyObject *module, PyObject *args)
{
    (void)module;
    enum { RECORDS, SHAPES, TABLE, OUT, OBJECTS };
    PyObject *objects[OBJECTS];
    Py_buffer events, allowed, views[OBJECTS];
    unsigned long long base, known;
    if (!PyArg_ParseTuple(args, "Oy*y*KOKOO", &objects[RECORDS], &events, &allowed, &base, &objects[SHAPES], &known,
                          &objects[TABLE], &objects[OUT]))
        return NULL;
    PyObject *result = NULL;
    int have = 0;
    while (have < OBJECTS && get(objects[have], &views[have], have != RECORDS))
        have++;
    if (have == OBJECTS) {
        Gathering g = {
            .records = views[RECORDS].buf, .count = (size_t)views[RECORDS].len / sizeof(Record),
            .events = events.buf, .kinds = (size_t)events.len / sizeof(Event),
            .allowed = allowed.buf, .base = base, .ports = (size_t)allowed.len / 18,
            .shapes = views[SHAPES].buf, .known = known > UINT32_MAX ? UINT32_MAX : (uint32_t)known,
            .most_shapes = (size_t)views[SHAPES].len / sizeof(Shape),
            .table = views[TABLE].buf, .places = (size_t)views[TABLE].len / sizeof(uint32_t),
            .out = views[OUT].buf, .most = (size_t)views[OUT].len / sizeof(Access),
        };
        result = gathered(&g);
    }
    while (have)
        PyBuffer_Release(&views[--have]);
    PyBuffer_Release(&events);
    PyBuffer_Release(&allowed);
    return result;
}
