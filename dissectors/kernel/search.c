/* Lines that hold needles: three places of each pattern, the rarest, are looked for at every byte at once. */

#include "record.h"

#ifdef HAS_AVX2
#include <immintrin.h>
#endif

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

PyObject *kernel_search(PyObject *module, PyObject *args)
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
