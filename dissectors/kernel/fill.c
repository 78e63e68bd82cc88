/* Rows as text: the pieces of a row that are always the same, and its numbers between them. */

#include "record.h"

#define MOST_COLUMNS 64

/* The absolute value; that of the least number is one more than the greatest. */
static uint64_t size_of(int64_t value) { return value < 0 ? 0 - (uint64_t)value : (uint64_t)value; }

/* How many digits: a bit is some 1233 / 4096 of one. */
static size_t digits_of(uint64_t value)
{
    static const uint64_t powers[] = {0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
                                      10000000000, 100000000000, 1000000000000, 10000000000000, 100000000000000,
                                      1000000000000000, 10000000000000000, 100000000000000000, 1000000000000000000,
                                      10000000000000000000u};
    size_t least = (size_t)((64 - __builtin_clzll(value | 1)) * 1233) >> 12;
    return least + (value >= powers[least]);
}

/* How many bytes a number takes. */
static size_t width(int64_t value)
{
    return digits_of(size_of(value)) + (value < 0);
}

static size_t written(uint8_t *out, int64_t value)
{
    size_t length = width(value), at = length;
    uint64_t left = size_of(value);
    do {
        out[--at] = (uint8_t)('0' + left % 10);
        left /= 10;
    } while (left);
    if (value < 0)
        out[0] = '-';
    return length;
}

/* `pieces` are offsets into `text`: of each template `columns` + 2, where its pieces begin and the last one ends. */
static void fill(uint8_t *out, const uint8_t *text, const uint64_t *pieces, const uint32_t *which, size_t rows,
                 const int64_t *numbers, size_t columns)
{
    for (size_t row = 0; row < rows; row++) {
        const uint64_t *piece = pieces + (size_t)which[row] * (columns + 2);
        for (size_t column = 0; column <= columns; column++) {
            size_t size = (size_t)(piece[column + 1] - piece[column]);
            memcpy(out, text + piece[column], size);
            out += size;
            if (column < columns)
                out += written(out, numbers[row * columns + column]);
        }
    }
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
        for (size_t j = 0; j < wide; j++)
            if (own[j] > f->size || (j && own[j] < own[j - 1]))
                return SIZE_MAX;
    }
    for (size_t row = 0; row < f->rows; row++) {
        if (f->which[row] >= f->templates)
            return SIZE_MAX;
        const uint64_t *own = f->pieces + f->which[row] * wide;
        total += (size_t)(own[wide - 1] - own[0]);
        for (size_t column = 0; column < f->columns; column++)
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

PyObject *kernel_fill(PyObject *module, PyObject *args)
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
