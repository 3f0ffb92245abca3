/* melissa_like.c: see melissa_like.h for what it does, melissa_like/protocol/README.md for what it says on the wire.
 *
 * In this order: errors, bytes, time; msgpack; the files of a run directory; the ranks of a job as a team; the line to
 * the launcher; memory in flight; shared memory; bundles and the way to a server rank; conversion; boxes; one
 * simulation: headers, votes, coverage; the public functions.
 *
 * Everything runs on the calling thread, but for `release_message`, which ZeroMQ calls on one of its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, where there is one */
#endif

#include "melissa_like.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#if !defined(__GNUC__)
#error "melissa_like.c needs the atomic builtins and thread-local variables of GCC or Clang"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "melissa_like.c sends values as they lie in memory: it needs a little-endian machine"
#endif

#define WIRE_VERSION 2
#define CONTROL_VERSION 2

/* The names of `enum ml_...` in the order of their codes: those that the study may declare come first. */
#define NUM_STORAGE_DTYPES 6
#define NUM_DTYPES 11

static const char *const dtype_names[NUM_DTYPES] = {"float32", "float64", "float16", "int32",  "int64", "uint8",
                                                    "int8",    "int16",   "uint16",  "uint32", "uint64"};
static const size_t dtype_sizes[NUM_DTYPES] = {4, 8, 2, 4, 8, 1, 1, 2, 2, 4, 8};
static const char dtype_kinds[NUM_DTYPES + 1] = "fffiiuiiuuu";

#define MOST_TEXT 8192

/* ---- errors ----------------------------------------------------------------------------------------------------- */

/* An error as it goes from rank to rank. A code of 0: there is none. */
struct trouble {
    int code;
    char text[MOST_TEXT];
};

static __thread struct trouble last_error;
static int error_ends_program;

/* Remember an error of this thread, and return its code. */
static int raise_error(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int raise_error(int code, const char *format, ...)
{
    char text[MOST_TEXT]; /* an argument may be the text of the last error */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    last_error.code = code;
    memcpy(last_error.text, text, sizeof text);
    return code;
}

static int raise_trouble(const struct trouble *trouble)
{
    return raise_error(trouble->code, "%s", trouble->text);
}

static int no_memory(void)
{
    return raise_error(ML_ERROR_MEMORY, "no memory is left");
}

const char *ml_error_text(int code)
{
    switch (code) {
    case ML_OK: return "all is well";
    case ML_FINISHED: return "no simulation is left for this job";
    case ML_ERROR_CONFIGURATION: return "the solver was not started by a launcher, or its files cannot be read";
    case ML_ERROR_REFUSED: return "the launcher refuses this job";
    case ML_ERROR_STOPPED: return "the study has ended";
    case ML_ERROR_CONTRACT: return "the solver sent what the study does not declare";
    case ML_ERROR_FAILED: return "this attempt of the simulation has failed";
    case ML_ERROR_TRANSPORT: return "ZeroMQ, MPI or the system failed";
    case ML_ERROR_MEMORY: return "no memory is left";
    case ML_ERROR_USAGE: return "a call out of order, or with a wrong argument";
    default: return "no code of melissa_like";
    }
}

const char *ml_last_error(void)
{
    return last_error.text;
}

int ml_exit_code(int status)
{
    switch (status) {
    case ML_OK:
    case ML_FINISHED: return 0;
    case ML_ERROR_CONFIGURATION: return 2;
    case ML_ERROR_REFUSED:
    case ML_ERROR_STOPPED: return 3;
    default: return 1;
    }
}

void ml_abort_on_error(int yes)
{
    error_ends_program = yes;
}

/* ---- bytes and time --------------------------------------------------------------------------------------------- */

/* Bytes that grow. After a growth that failed it takes no more, and `failed` says so once, at the end. */
struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
    int failed;
};

static void free_buffer(struct buffer *buffer)
{
    free(buffer->bytes);
    memset(buffer, 0, sizeof *buffer);
}

/* Room for so many bytes behind the others; NULL if there is no memory. */
static uint8_t *extend(struct buffer *buffer, size_t size)
{
    if (!buffer->failed && buffer->capacity - buffer->size < size) {
        size_t capacity = buffer->capacity ? buffer->capacity : 64;
        uint8_t *grown;
        while (capacity - buffer->size < size && capacity <= SIZE_MAX / 2)
            capacity *= 2;
        grown = capacity - buffer->size < size ? NULL : realloc(buffer->bytes, capacity);
        if (grown == NULL) {
            buffer->failed = 1;
        } else {
            buffer->bytes = grown;
            buffer->capacity = capacity;
        }
    }
    if (buffer->failed)
        return NULL;
    buffer->size += size;
    return buffer->bytes + buffer->size - size;
}

static void put_bytes(struct buffer *buffer, const void *bytes, size_t size)
{
    uint8_t *place = extend(buffer, size);
    if (place != NULL && size > 0)
        memcpy(place, bytes, size);
}

static void put_byte(struct buffer *buffer, unsigned byte)
{
    uint8_t *place = extend(buffer, 1);
    if (place != NULL)
        *place = (uint8_t)byte;
}

static void put_number(struct buffer *buffer, uint64_t number, int num_bytes)
{
    uint8_t bytes[8];
    int i;
    for (i = 0; i < num_bytes; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
    put_bytes(buffer, bytes, (size_t)num_bytes);
}

static void put_big_endian(struct buffer *buffer, uint64_t number, int num_bytes)
{
    uint8_t bytes[8];
    int i;
    for (i = 0; i < num_bytes; i++)
        bytes[i] = (uint8_t)(number >> (8 * (num_bytes - 1 - i)));
    put_bytes(buffer, bytes, (size_t)num_bytes);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Add text at the end of a zero-terminated one; what does not fit is cut off. */
static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static void append_tuple(char *text, size_t size, int length, const int64_t *numbers)
{
    int i;
    append(text, size, "(");
    for (i = 0; i < length; i++)
        append(text, size, "%s%lld", i ? ", " : "", (long long)numbers[i]);
    append(text, size, length == 1 ? ",)" : ")");
}

/* Numbers as `(8, 4)`, for messages; the text lives until the fourth call from now. */
static const char *shown(int length, const int64_t *numbers)
{
    static __thread char texts[4][256];
    static __thread int next;
    char *text = texts[next];
    next = (next + 1) % 4;
    text[0] = '\0';
    append_tuple(text, sizeof texts[0], length, numbers);
    return text;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_s(double seconds)
{
    struct timespec pause;
    pause.tv_sec = (time_t)seconds;
    pause.tv_nsec = (long)(1e9 * (seconds - (double)pause.tv_sec));
    nanosleep(&pause, NULL); /* one that is cut short by a signal is as good */
}

#define LONGEST_SLEEP_S 0.005

static char *copy_text(const char *text, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

/* ---- msgpack ---------------------------------------------------------------------------------------------------- */

/* What of it the protocol uses: maps, arrays, strings, bin, integers, float64, nil and booleans. */

static void put_uint(struct buffer *out, uint64_t number)
{
    if (number < 0x80) {
        put_byte(out, (unsigned)number);
    } else if (number <= UINT8_MAX) {
        put_byte(out, 0xcc);
        put_big_endian(out, number, 1);
    } else if (number <= UINT16_MAX) {
        put_byte(out, 0xcd);
        put_big_endian(out, number, 2);
    } else if (number <= UINT32_MAX) {
        put_byte(out, 0xce);
        put_big_endian(out, number, 4);
    } else {
        put_byte(out, 0xcf);
        put_big_endian(out, number, 8);
    }
}

static void put_int(struct buffer *out, int64_t number)
{
    if (number >= 0) {
        put_uint(out, (uint64_t)number);
    } else if (number >= -32) {
        put_byte(out, (unsigned)(0x100 + number));
    } else {
        put_byte(out, 0xd3);
        put_big_endian(out, (uint64_t)number, 8);
    }
}

static void put_bool(struct buffer *out, int yes)
{
    put_byte(out, yes ? 0xc3 : 0xc2);
}

static void put_map(struct buffer *out, unsigned length) /* below 16 */
{
    put_byte(out, 0x80 | length);
}

static void put_array(struct buffer *out, size_t length)
{
    if (length < 16) {
        put_byte(out, 0x90 | (unsigned)length);
    } else if (length <= UINT16_MAX) {
        put_byte(out, 0xdc);
        put_big_endian(out, length, 2);
    } else {
        put_byte(out, 0xdd);
        put_big_endian(out, length, 4);
    }
}

static void put_bin16(struct buffer *out, const uint8_t *bytes)
{
    put_byte(out, 0xc4);
    put_byte(out, 16);
    put_bytes(out, bytes, 16);
}

/* Bytes of the UTF-8 character that begins a text; 0 if none does. */
static size_t character_size(const unsigned char *text)
{
    size_t size, i;
    if (text[0] < 0x80)
        return 1;
    size = text[0] >= 0xc2 && text[0] < 0xe0   ? 2
           : (text[0] & 0xf0) == 0xe0          ? 3
           : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
                                               : 0;
    for (i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80) /* a zero ends the text here too */
            return 0;
    if (size == 3 && ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] >= 0xa0)))
        return 0; /* too long, or half a pair of UTF-16 */
    if (size == 4 && ((text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] >= 0x90)))
        return 0;
    return size;
}

/* A text; what is not UTF-8 becomes question marks, because the launcher would drop the whole message. */
static void put_text(struct buffer *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = strlen(text);
    uint8_t *place;
    if (length < 32) {
        put_byte(out, 0xa0 | (unsigned)length);
    } else if (length <= UINT8_MAX) {
        put_byte(out, 0xd9);
        put_big_endian(out, length, 1);
    } else if (length <= UINT16_MAX) {
        put_byte(out, 0xda);
        put_big_endian(out, length, 2);
    } else {
        put_byte(out, 0xdb);
        put_big_endian(out, length, 4);
    }
    place = extend(out, length);
    if (place == NULL)
        return;
    while (*at != '\0') {
        size_t size = character_size(at);
        if (size == 0) {
            *place++ = '?';
            at++;
        } else {
            memcpy(place, at, size);
            place += size;
            at += size;
        }
    }
}

/* Reads from untrusted bytes. The first thing that is not as expected sets `bad`; all that is read then is empty. */
struct reader {
    const uint8_t *at, *end;
    int bad;
};

static struct reader reader_of(const uint8_t *bytes, size_t size)
{
    struct reader reader = {bytes, bytes + size, 0};
    return reader;
}

static uint64_t take_big_endian(struct reader *in, int num_bytes)
{
    uint64_t number = 0;
    int i;
    if (in->bad || in->end - in->at < num_bytes) {
        in->bad = 1;
        return 0;
    }
    for (i = 0; i < num_bytes; i++)
        number = number << 8 | *in->at++;
    return number;
}

static unsigned take_byte(struct reader *in)
{
    return (unsigned)take_big_endian(in, 1);
}

static int next_is(const struct reader *in, unsigned byte)
{
    return !in->bad && in->at < in->end && *in->at == byte;
}

/* An integer that is not negative, of any width. */
static uint64_t take_uint(struct reader *in)
{
    unsigned kind = take_byte(in);
    int64_t number;
    switch (kind) {
    case 0xcc: return take_big_endian(in, 1);
    case 0xcd: return take_big_endian(in, 2);
    case 0xce: return take_big_endian(in, 4);
    case 0xcf: return take_big_endian(in, 8);
    case 0xd0: number = (int8_t)take_big_endian(in, 1); break;
    case 0xd1: number = (int16_t)take_big_endian(in, 2); break;
    case 0xd2: number = (int32_t)take_big_endian(in, 4); break;
    case 0xd3: number = (int64_t)take_big_endian(in, 8); break;
    default: number = kind < 0x80 ? (int64_t)kind : -1; break;
    }
    if (number < 0) {
        in->bad = 1;
        return 0;
    }
    return (uint64_t)number;
}

/* An integer from 0 to a bound. */
static int64_t take_count(struct reader *in, int64_t most)
{
    uint64_t number = take_uint(in);
    if (number > (uint64_t)most) {
        in->bad = 1;
        return 0;
    }
    return (int64_t)number;
}

/* A number; integers are taken too. */
static double take_double(struct reader *in)
{
    uint64_t bits;
    double value;
    if (next_is(in, 0xcb)) {
        take_byte(in);
        bits = take_big_endian(in, 8);
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    if (next_is(in, 0xca)) {
        float narrow;
        uint32_t narrow_bits;
        take_byte(in);
        narrow_bits = (uint32_t)take_big_endian(in, 4);
        memcpy(&narrow, &narrow_bits, sizeof narrow);
        return narrow;
    }
    if (!in->bad && in->at < in->end && *in->at >= 0xe0)
        return (double)(int8_t)take_byte(in);
    return (double)take_uint(in);
}

/* The bytes of a string or of bin; NULL if it is neither. */
static const uint8_t *take_bytes(struct reader *in, int as_text, size_t *length)
{
    unsigned kind = take_byte(in);
    const uint8_t *bytes;
    *length = 0;
    if (as_text && (kind & 0xe0) == 0xa0)
        *length = kind & 0x1f;
    else if (kind == (as_text ? 0xd9u : 0xc4u))
        *length = (size_t)take_big_endian(in, 1);
    else if (kind == (as_text ? 0xdau : 0xc5u))
        *length = (size_t)take_big_endian(in, 2);
    else if (kind == (as_text ? 0xdbu : 0xc6u))
        *length = (size_t)take_big_endian(in, 4);
    else
        in->bad = 1;
    if (in->bad || (size_t)(in->end - in->at) < *length) {
        in->bad = 1;
        *length = 0;
        return NULL;
    }
    bytes = in->at;
    in->at += *length;
    return bytes;
}

/* A string as a copy of its own; NULL if it is none, holds a zero, or there is no memory. */
static char *take_text(struct reader *in)
{
    size_t length;
    const uint8_t *bytes = take_bytes(in, 1, &length);
    char *copy;
    if (bytes == NULL || memchr(bytes, 0, length) != NULL) {
        in->bad = 1;
        return NULL;
    }
    copy = copy_text((const char *)bytes, length);
    in->bad = in->bad || copy == NULL;
    return copy;
}

/* How many elements follow; never more than there are bytes left. */
static size_t take_length(struct reader *in, unsigned fixed, unsigned of_16_bits)
{
    unsigned kind = take_byte(in);
    uint64_t length = 0;
    if ((kind & 0xf0) == fixed)
        length = kind & 0x0f;
    else if (kind == of_16_bits)
        length = take_big_endian(in, 2);
    else if (kind == of_16_bits + 1)
        length = take_big_endian(in, 4);
    else
        in->bad = 1;
    if (in->bad || length > (uint64_t)(in->end - in->at)) {
        in->bad = 1;
        return 0;
    }
    return (size_t)length;
}

static size_t take_array(struct reader *in)
{
    return take_length(in, 0x90, 0xdc);
}

static size_t take_map(struct reader *in)
{
    return take_length(in, 0x80, 0xde);
}

static int take_nil(struct reader *in)
{
    if (!next_is(in, 0xc0))
        return 0;
    take_byte(in);
    return 1;
}

static void pass_bytes(struct reader *in, uint64_t size)
{
    if (in->bad || (uint64_t)(in->end - in->at) < size)
        in->bad = 1;
    else
        in->at += size;
}

/* Pass over one value of any kind, with all that is in it; without recursion, because a peer may send any depth. */
static void skip_value(struct reader *in)
{
    uint64_t left = 1;
    while (left > 0 && !in->bad) {
        unsigned kind = take_byte(in);
        left--;
        if (kind < 0x80 || kind >= 0xe0 || kind == 0xc0 || kind == 0xc2 || kind == 0xc3)
            continue;
        if (kind < 0x90)
            left += 2 * (uint64_t)(kind & 0x0f);
        else if (kind < 0xa0)
            left += kind & 0x0f;
        else if (kind < 0xc0)
            pass_bytes(in, kind & 0x1f);
        else
            switch (kind) {
            case 0xc4:
            case 0xd9: pass_bytes(in, take_big_endian(in, 1)); break;
            case 0xc5:
            case 0xda: pass_bytes(in, take_big_endian(in, 2)); break;
            case 0xc6:
            case 0xdb: pass_bytes(in, take_big_endian(in, 4)); break;
            case 0xc7: pass_bytes(in, take_big_endian(in, 1) + 1); break;
            case 0xc8: pass_bytes(in, take_big_endian(in, 2) + 1); break;
            case 0xc9: pass_bytes(in, take_big_endian(in, 4) + 1); break;
            case 0xcc:
            case 0xd0: pass_bytes(in, 1); break;
            case 0xcd:
            case 0xd1:
            case 0xd4: pass_bytes(in, 2); break;
            case 0xd5: pass_bytes(in, 3); break;
            case 0xca:
            case 0xce:
            case 0xd2: pass_bytes(in, 4); break;
            case 0xd6: pass_bytes(in, 5); break;
            case 0xcb:
            case 0xcf:
            case 0xd3: pass_bytes(in, 8); break;
            case 0xd7: pass_bytes(in, 9); break;
            case 0xd8: pass_bytes(in, 17); break;
            case 0xdc: left += take_big_endian(in, 2); break;
            case 0xdd: left += take_big_endian(in, 4); break;
            case 0xde: left += 2 * take_big_endian(in, 2); break;
            case 0xdf: left += 2 * take_big_endian(in, 4); break;
            default: in->bad = 1;
            }
        if (left > (uint64_t)(in->end - in->at)) /* each has a byte at least */
            in->bad = 1;
    }
}

/* Whether the value of a map with string keys follows that has this key; else the reader stands where it was. */
static int key_is(const uint8_t *key, size_t length, const char *name)
{
    return key != NULL && length == strlen(name) && memcmp(key, name, length) == 0;
}

/* ---- envelopes -------------------------------------------------------------------------------------------------- */

/* Who is allowed to speak: what each message of a study carries. */
struct identity {
    uint8_t study[16], secret[16];
    uint32_t launcher_incarnation;
};

/* A control message that was received: its name, and where its map is in the received bytes. */
struct envelope {
    uint64_t version, number, acknowledged;
    const uint8_t *type;
    size_t type_length;
    const uint8_t *message;
    size_t message_size;
};

static void put_envelope(struct buffer *out, const struct identity *identity, uint64_t number, uint64_t acknowledged,
                         const uint8_t *message, size_t size)
{
    put_map(out, 7);
    put_text(out, "version");
    put_uint(out, CONTROL_VERSION);
    put_text(out, "study");
    put_bin16(out, identity->study);
    put_text(out, "secret");
    put_bin16(out, identity->secret);
    put_text(out, "launcher_incarnation");
    put_uint(out, identity->launcher_incarnation);
    put_text(out, "number");
    put_uint(out, number);
    put_text(out, "acknowledged");
    put_uint(out, acknowledged);
    put_text(out, "message");
    put_bytes(out, message, size);
}

static int same_16(const uint8_t *bytes, size_t size, const uint8_t *expected)
{
    unsigned difference = size == 16 ? 0 : 1, i;
    for (i = 0; bytes != NULL && i < 16 && size == 16; i++)
        difference |= (unsigned)(bytes[i] ^ expected[i]); /* in a time that does not depend on the bytes */
    return bytes != NULL && difference == 0;
}

/* The name of a message, and that it is a map with string keys. */
static int read_type(struct envelope *envelope)
{
    struct reader in = reader_of(envelope->message, envelope->message_size);
    size_t left = take_map(&in);
    envelope->type = NULL;
    for (; left > 0 && !in.bad; left--) {
        size_t length;
        const uint8_t *key = take_bytes(&in, 1, &length);
        if (key_is(key, length, "type"))
            envelope->type = take_bytes(&in, 1, &envelope->type_length);
        else
            skip_value(&in);
    }
    return !in.bad && envelope->type != NULL;
}

/* Read what came from the launcher; an error if it is no control message of this study and version. */
static int read_envelope(const uint8_t *bytes, size_t size, const struct identity *identity, struct envelope *envelope)
{
    struct reader in = reader_of(bytes, size);
    const uint8_t *study = NULL, *secret = NULL;
    size_t study_length = 0, secret_length = 0, left = take_map(&in);
    uint64_t incarnation = 0;
    memset(envelope, 0, sizeof *envelope);
    for (; left > 0 && !in.bad; left--) {
        size_t length;
        const uint8_t *key = take_bytes(&in, 1, &length);
        if (key_is(key, length, "version")) {
            envelope->version = take_uint(&in);
        } else if (key_is(key, length, "study")) {
            study = take_bytes(&in, 0, &study_length);
        } else if (key_is(key, length, "secret")) {
            secret = take_bytes(&in, 0, &secret_length);
        } else if (key_is(key, length, "launcher_incarnation")) {
            incarnation = take_uint(&in);
        } else if (key_is(key, length, "number")) {
            envelope->number = take_uint(&in);
        } else if (key_is(key, length, "acknowledged")) {
            envelope->acknowledged = take_uint(&in);
        } else if (key_is(key, length, "message")) {
            envelope->message = in.at;
            skip_value(&in);
            envelope->message_size = in.bad ? 0 : (size_t)(in.at - envelope->message);
        } else {
            skip_value(&in);
        }
    }
    if (in.bad || in.at != in.end || envelope->message == NULL)
        return raise_error(ML_ERROR_TRANSPORT, "the launcher sent %zu bytes that are no control message", size);
    if (envelope->version != CONTROL_VERSION)
        return raise_error(ML_ERROR_REFUSED,
                           "control message of version %llu, this side speaks %d: compile the solver with the client "
                           "of the release of melissa-like that the launcher has",
                           (unsigned long long)envelope->version, CONTROL_VERSION);
    if (!read_type(envelope))
        return raise_error(ML_ERROR_TRANSPORT, "the launcher sent a control message without a type");
    /* Both are looked at in any case. */
    if (!(same_16(study, study_length, identity->study) & same_16(secret, secret_length, identity->secret)))
        return raise_error(ML_ERROR_TRANSPORT, "a control message of another study (or with a wrong secret)");
    if (incarnation != identity->launcher_incarnation)
        return raise_error(ML_ERROR_TRANSPORT, "a control message of launcher incarnation %llu, this is %u",
                           (unsigned long long)incarnation, (unsigned)identity->launcher_incarnation);
    return ML_OK;
}

static int type_is(const struct envelope *envelope, const char *type)
{
    return key_is(envelope->type, envelope->type_length, type);
}

/* The text under a key of a message, such as a reason, cut off if it is long. */
static void read_text(const uint8_t *message, size_t size, const char *wanted, char *text, size_t text_size)
{
    struct reader in = reader_of(message, size);
    size_t left = take_map(&in);
    text[0] = '\0';
    for (; left > 0 && !in.bad; left--) {
        size_t length;
        const uint8_t *key = take_bytes(&in, 1, &length);
        if (key_is(key, length, wanted)) {
            const uint8_t *value = take_bytes(&in, 1, &length);
            snprintf(text, text_size, "%.*s", (int)(length < text_size ? length : text_size - 1),
                     value == NULL ? "" : (const char *)value);
        } else {
            skip_value(&in);
        }
    }
}

/* The messages of a job; the keys in the order of the specification. */

static void begin_message(struct buffer *out, const char *type, unsigned num_keys)
{
    put_map(out, 1 + num_keys);
    put_text(out, "type");
    put_text(out, type);
}

static void put_hello(struct buffer *out, int num_ranks, const char *host, int64_t pid)
{
    begin_message(out, "Hello", 3);
    put_text(out, "num_ranks");
    put_int(out, num_ranks);
    put_text(out, "host");
    put_text(out, host);
    put_text(out, "pid");
    put_int(out, pid);
}

static void put_attempt(struct buffer *out, const char *type, unsigned num_keys, int64_t simulation, int64_t attempt)
{
    begin_message(out, type, 2 + num_keys);
    put_text(out, "simulation");
    put_int(out, simulation);
    put_text(out, "attempt");
    put_int(out, attempt);
}

static void put_goodbye(struct buffer *out, int64_t simulation, int64_t attempt, int64_t num_steps,
                        const int64_t *parts_sent, int num_server_ranks)
{
    int i;
    put_attempt(out, "Goodbye", 2, simulation, attempt);
    put_text(out, "num_steps");
    put_int(out, num_steps);
    put_text(out, "parts_sent");
    put_array(out, (size_t)num_server_ranks);
    for (i = 0; i < num_server_ranks; i++)
        put_int(out, parts_sent[i]);
}

static void put_failure(struct buffer *out, int64_t simulation, int64_t attempt, const char *message,
                        int breaks_contract)
{
    put_attempt(out, "Failure", 2, simulation, attempt);
    put_text(out, "message");
    put_text(out, message);
    put_text(out, "breaks_contract");
    put_bool(out, breaks_contract);
}

static void put_blocked(struct buffer *out, int server_rank)
{
    begin_message(out, "Blocked", 1);
    put_text(out, "server_rank");
    put_int(out, server_rank);
}

/* ---- what the launcher announces -------------------------------------------------------------------------------- */

/* A field of the layout. */
struct field {
    char *name;
    int num_dimensions, dtype, components;
    int extent; /* which one is the size of the last axis; -1: it is fixed */
    int64_t shape[ML_MAX_DIMENSIONS];
};

struct names {
    char **items;
    int number;
};

struct fields {
    struct field *items;
    int number;
};

struct welcome {
    struct names endpoints, parameters, extents;
    struct fields fields, statics;
    uint32_t server_incarnation, layout_id;
    int routes_by_trajectory;
    int64_t num_steps; /* -1: only the solver knows */
    uint64_t budget_bytes;
    double heartbeat_s, orphan_timeout_s;
};

struct range {
    uint64_t first, behind_last;
};

struct assignment {
    int64_t simulation, attempt;
    int purpose;
    double *parameters;
    int num_parameters;
    struct range *delivered; /* in order, none touching another */
    size_t num_delivered;
};

static void free_names(struct names *names)
{
    int i;
    for (i = 0; i < names->number; i++)
        free(names->items[i]);
    free(names->items);
    memset(names, 0, sizeof *names);
}

static void free_fields(struct fields *fields)
{
    int i;
    for (i = 0; i < fields->number; i++)
        free(fields->items[i].name);
    free(fields->items);
    memset(fields, 0, sizeof *fields);
}

static void free_welcome(struct welcome *welcome)
{
    free_names(&welcome->endpoints);
    free_names(&welcome->parameters);
    free_names(&welcome->extents);
    free_fields(&welcome->fields);
    free_fields(&welcome->statics);
    memset(welcome, 0, sizeof *welcome);
}

static void free_assignment(struct assignment *assignment)
{
    free(assignment->parameters);
    free(assignment->delivered);
    memset(assignment, 0, sizeof *assignment);
}

static int find_name(const struct names *names, const char *name)
{
    int i;
    for (i = 0; i < names->number; i++)
        if (strcmp(names->items[i], name) == 0)
            return i;
    return -1;
}

static void take_names(struct reader *in, struct names *names)
{
    size_t length = take_array(in);
    free_names(names);
    if (in->bad || length == 0)
        return;
    names->items = calloc(length, sizeof *names->items);
    in->bad = names->items == NULL || length > INT_MAX;
    while (!in->bad && (size_t)names->number < length) {
        char *name = take_text(in);
        if (name != NULL)
            names->items[names->number++] = name;
    }
}

static void take_dtype(struct reader *in, int *dtype)
{
    size_t length;
    const uint8_t *name = take_bytes(in, 1, &length);
    for (*dtype = 0; *dtype < NUM_STORAGE_DTYPES; ++*dtype)
        if (key_is(name, length, dtype_names[*dtype]))
            return;
    in->bad = 1;
}

/* A field; the name of its extent is left in the message: where the extents stand is not known yet. */
static void take_field(struct reader *in, struct field *field, struct reader *extent)
{
    size_t left = take_map(in);
    field->components = 1;
    field->extent = -1;
    field->dtype = -1;
    for (; left > 0 && !in->bad; left--) {
        size_t length, i;
        const uint8_t *key = take_bytes(in, 1, &length);
        if (key_is(key, length, "name")) {
            free(field->name);
            field->name = take_text(in);
        } else if (key_is(key, length, "dtype")) {
            take_dtype(in, &field->dtype);
        } else if (key_is(key, length, "components")) {
            field->components = (int)take_count(in, INT_MAX);
        } else if (key_is(key, length, "extent")) {
            *extent = *in;
            skip_value(in);
        } else if (key_is(key, length, "shape")) {
            size_t num_dimensions = take_array(in);
            in->bad = in->bad || num_dimensions < 1 || num_dimensions > ML_MAX_DIMENSIONS;
            field->num_dimensions = in->bad ? 0 : (int)num_dimensions;
            for (i = 0; i < num_dimensions && !in->bad; i++)
                field->shape[i] = take_count(in, INT64_MAX);
        } else {
            skip_value(in);
        }
    }
    in->bad = in->bad || field->name == NULL || field->dtype < 0 || field->num_dimensions < 1 || field->components < 1;
}

/* Each field's extent by its number; `extents[i]` reads the name of that of field i. */
static int name_extents(struct fields *fields, const struct reader *extents, const struct names *names)
{
    int i;
    for (i = 0; i < fields->number; i++) {
        struct reader in = extents[i];
        char *name;
        if (in.at == NULL || take_nil(&in))
            continue;
        name = take_text(&in);
        if (name != NULL) {
            fields->items[i].extent = find_name(names, name);
            fields->items[i].shape[fields->items[i].num_dimensions - 1] = -1;
        }
        free(name);
        if (fields->items[i].extent < 0)
            return 0;
    }
    return 1;
}

static struct reader *take_fields(struct reader *in, struct fields *fields)
{
    size_t length = take_array(in);
    struct reader *extents;
    free_fields(fields);
    fields->items = in->bad ? NULL : calloc(length + 1, sizeof *fields->items);
    extents = in->bad ? NULL : calloc(length + 1, sizeof *extents);
    in->bad = in->bad || fields->items == NULL || extents == NULL || length > 0xffff;
    while (!in->bad && (size_t)fields->number < length) {
        fields->number++;
        take_field(in, &fields->items[fields->number - 1], &extents[fields->number - 1]);
    }
    return extents;
}

static int64_t size_of_shape(int num_dimensions, const int64_t *shape)
{
    int64_t size = 1;
    int i;
    for (i = 0; i < num_dimensions; i++) {
        if (shape[i] > 0 && size > INT64_MAX / shape[i])
            return -1;
        size *= shape[i];
    }
    return size;
}

/* Nothing of it reaches an index unchecked: sizes of fixed fields are positive, and can be counted in bytes. */
static int shapes_are_sound(const struct fields *fields)
{
    int i, axis;
    for (i = 0; i < fields->number; i++) {
        const struct field *field = &fields->items[i];
        int fixed = field->num_dimensions - (field->extent >= 0);
        int64_t size = size_of_shape(fixed, field->shape);
        for (axis = 0; axis < fixed; axis++)
            if (field->shape[axis] < 1)
                return 0;
        if (size < 1 || size > INT64_MAX / 8)
            return 0;
    }
    return 1;
}

static int read_welcome(const uint8_t *message, size_t size, struct welcome *welcome)
{
    struct reader in = reader_of(message, size), *of_fields = NULL, *of_statics = NULL;
    size_t left = take_map(&in);
    int is_sound;
    memset(welcome, 0, sizeof *welcome);
    welcome->num_steps = -1;
    for (; left > 0 && !in.bad; left--) {
        size_t length;
        const uint8_t *key = take_bytes(&in, 1, &length);
        if (key_is(key, length, "server_endpoints")) {
            take_names(&in, &welcome->endpoints);
        } else if (key_is(key, length, "server_incarnation")) {
            welcome->server_incarnation = (uint32_t)take_count(&in, UINT32_MAX);
        } else if (key_is(key, length, "routing")) {
            welcome->routes_by_trajectory = (int)take_count(&in, 1);
        } else if (key_is(key, length, "layout_id")) {
            welcome->layout_id = (uint32_t)take_count(&in, UINT32_MAX);
        } else if (key_is(key, length, "fields")) {
            free(of_fields);
            of_fields = take_fields(&in, &welcome->fields);
        } else if (key_is(key, length, "static")) {
            free(of_statics);
            of_statics = take_fields(&in, &welcome->statics);
        } else if (key_is(key, length, "parameters")) {
            take_names(&in, &welcome->parameters);
        } else if (key_is(key, length, "extents")) {
            take_names(&in, &welcome->extents);
        } else if (key_is(key, length, "num_steps")) {
            if (!take_nil(&in))
                welcome->num_steps = take_count(&in, INT64_MAX);
        } else if (key_is(key, length, "budget_bytes")) {
            welcome->budget_bytes = take_uint(&in);
        } else if (key_is(key, length, "heartbeat_s")) {
            welcome->heartbeat_s = take_double(&in);
        } else if (key_is(key, length, "orphan_timeout_s")) {
            welcome->orphan_timeout_s = take_double(&in);
        } else {
            skip_value(&in);
        }
    }
    is_sound = !in.bad && welcome->endpoints.number > 0 && welcome->fields.number > 0 && welcome->heartbeat_s > 0 &&
               welcome->orphan_timeout_s > 0 && name_extents(&welcome->fields, of_fields, &welcome->extents) &&
               (of_statics == NULL || name_extents(&welcome->statics, of_statics, &welcome->extents)) &&
               shapes_are_sound(&welcome->fields) && shapes_are_sound(&welcome->statics);
    free(of_fields);
    free(of_statics);
    if (is_sound)
        return ML_OK;
    free_welcome(welcome);
    return raise_error(ML_ERROR_TRANSPORT,
                       "the launcher's welcome cannot be read: compile the solver with the client of "
                       "the release of melissa-like that the launcher has");
}

static int compare_ranges(const void *left, const void *right)
{
    const struct range *a = left, *b = right;
    return a->first < b->first ? -1 : a->first > b->first;
}

static void take_ranges(struct reader *in, struct assignment *assignment)
{
    size_t length = take_array(in), i, last = 0;
    struct range *ranges;
    free(assignment->delivered);
    ranges = assignment->delivered = in->bad ? NULL : calloc(length + 1, sizeof *ranges);
    in->bad = in->bad || ranges == NULL;
    for (i = 0; i < length && !in->bad; i++) {
        in->bad = take_array(in) != 2;
        ranges[i].first = take_uint(in);
        ranges[i].behind_last = take_uint(in);
    }
    assignment->num_delivered = 0;
    if (in->bad || length == 0)
        return;
    qsort(ranges, length, sizeof *ranges, compare_ranges);
    for (i = 1; i < length; i++) {
        if (ranges[i].first > ranges[last].behind_last)
            ranges[++last] = ranges[i];
        else if (ranges[i].behind_last > ranges[last].behind_last)
            ranges[last].behind_last = ranges[i].behind_last;
    }
    assignment->num_delivered = last + 1;
}

static int read_assignment(const uint8_t *message, size_t size, int num_parameters, struct assignment *assignment)
{
    struct reader in = reader_of(message, size);
    size_t left = take_map(&in), i, number;
    memset(assignment, 0, sizeof *assignment);
    assignment->simulation = assignment->attempt = -1;
    for (; left > 0 && !in.bad; left--) {
        size_t length;
        const uint8_t *key = take_bytes(&in, 1, &length);
        if (key_is(key, length, "simulation")) {
            assignment->simulation = take_count(&in, UINT32_MAX);
        } else if (key_is(key, length, "attempt")) {
            assignment->attempt = take_count(&in, UINT32_MAX);
        } else if (key_is(key, length, "purpose")) {
            assignment->purpose = (int)take_count(&in, ML_VALIDATION);
        } else if (key_is(key, length, "parameters")) {
            number = take_array(&in);
            free(assignment->parameters);
            assignment->parameters = in.bad ? NULL : calloc(number + 1, sizeof *assignment->parameters);
            in.bad = in.bad || assignment->parameters == NULL || number > INT_MAX;
            for (i = 0; i < number && !in.bad; i++)
                assignment->parameters[i] = take_double(&in);
            assignment->num_parameters = (int)number;
        } else if (key_is(key, length, "delivered_steps")) {
            take_ranges(&in, assignment);
        } else {
            skip_value(&in);
        }
    }
    if (!in.bad && assignment->simulation >= 0 && assignment->attempt >= 0 &&
        assignment->num_parameters == num_parameters)
        return ML_OK;
    free_assignment(assignment);
    return raise_error(ML_ERROR_TRANSPORT, "the launcher's assignment cannot be read, or has not as many parameters as "
                                           "its welcome");
}

static int is_delivered(const struct assignment *assignment, uint64_t step)
{
    size_t low = 0, high = assignment->num_delivered;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (step >= assignment->delivered[middle].behind_last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < assignment->num_delivered && step >= assignment->delivered[low].first;
}

/* ---- the files of a run directory ------------------------------------------------------------------------------- */

#define KEY_LENGTH 40

/* Where the launcher is, and what opens its door and those of the server ranks. */
struct connection {
    char endpoint[256], study[33], secret[33];
    struct identity identity;
    int encrypts_control, encrypts_data;
    char launcher_key[KEY_LENGTH + 1], server_key[KEY_LENGTH + 1];
    char own_public[KEY_LENGTH + 1], own_secret[KEY_LENGTH + 1];
};

/* The value of a line `KEY VALUE`: 1, or 0 if there is no such line, or -1 if there is no value, or a longer one. */
static int find_line(const char *text, const char *key, char *value, size_t size)
{
    size_t key_length = strlen(key);
    for (; *text != '\0'; text += strcspn(text, "\n"), text += *text == '\n') {
        size_t length;
        text += strspn(text, " \t\r");
        if (strncmp(text, key, key_length) != 0 || (text[key_length] != ' ' && text[key_length] != '\t'))
            continue;
        text += key_length;
        text += strspn(text, " \t");
        length = strcspn(text, "\n");
        while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL)
            length--;
        if (length == 0 || length >= size)
            return -1;
        memcpy(value, text, length);
        value[length] = '\0';
        return 1;
    }
    return 0;
}

/* The keys that a file has, for an error message. */
static void list_keys(const char *text, char *list, size_t size)
{
    list[0] = '\0';
    for (; *text != '\0'; text += strcspn(text, "\n"), text += *text == '\n') {
        size_t length = strcspn(text, " \t\r\n");
        if (length > 0)
            append(list, size, "%s%.*s", list[0] ? ", " : "", (int)(length < 40 ? length : 40), text);
    }
    if (list[0] == '\0')
        append(list, size, "none at all");
}

enum form { A_NUMBER, A_WORD, AN_ID, A_KEY, AN_ENCRYPTION };

static int has_form(const char *value, enum form form)
{
    size_t length = strlen(value);
    switch (form) {
    case A_NUMBER: return length <= 9 && strspn(value, "0123456789") == length;
    case A_WORD: return strcspn(value, " \t\r") == length;
    case AN_ID: return length == 32 && strspn(value, "0123456789abcdefABCDEF") == length;
    case A_KEY: return length == KEY_LENGTH && strcspn(value, " \t\r\"'\\,;|~`_") == length;
    default: return !strcmp(value, "none") || !strcmp(value, "control") || !strcmp(value, "all");
    }
}

static int take_line(const char *path, const char *text, const char *key, enum form form, char *value, size_t size)
{
    static const char *const expected[] = {"a number", "a ZeroMQ address", "of 32 hexadecimal digits",
                                           "a key of 40 characters", "none, control or all"};
    char keys[1024];
    int found = find_line(text, key, value, size);
    if (found != 0) {
        if (found > 0 && has_form(value, form))
            return ML_OK;
        /* The value is not quoted: it may be a part of the secret. */
        return raise_error(ML_ERROR_CONFIGURATION, "%s: the value of %s is not %s: the file was changed or damaged",
                           path, key, expected[form]);
    }
    list_keys(text, keys, sizeof keys);
    return raise_error(ML_ERROR_CONFIGURATION,
                       "%s has no line `%s ...`, only %s: install the same release of melissa-like for the launcher "
                       "and the solver",
                       path, key, keys);
}

static void bytes_of_id(const char *id, uint8_t *bytes)
{
    char digits[3] = {0};
    int i;
    for (i = 0; i < 16; i++) {
        memcpy(digits, id + 2 * i, 2);
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

/* Read the text of connection.txt, and that of job.key if there is one. `path` is only for messages. */
static int parse_connection(const char *path, const char *text, const char *key_text, struct connection *connection)
{
    char number[16], encryption[16];
    int code;
    memset(connection, 0, sizeof *connection);
    if ((code = take_line(path, text, "version", A_NUMBER, number, sizeof number)) < 0)
        return code;
    if (atoi(number) != CONTROL_VERSION)
        return raise_error(
            ML_ERROR_CONFIGURATION,
            "%s is of a launcher that speaks version %s of the protocol, this process speaks %d: compile "
            "the solver with the client of the release of melissa-like that the launcher has",
            path, number, CONTROL_VERSION);
    if ((code = take_line(path, text, "encryption", AN_ENCRYPTION, encryption, sizeof encryption)) < 0 ||
        (code = take_line(path, text, "endpoint", A_WORD, connection->endpoint, sizeof connection->endpoint)) < 0 ||
        (code = take_line(path, text, "study", AN_ID, connection->study, sizeof connection->study)) < 0 ||
        (code = take_line(path, text, "secret", AN_ID, connection->secret, sizeof connection->secret)) < 0 ||
        (code = take_line(path, text, "launcher_incarnation", A_NUMBER, number, sizeof number)) < 0)
        return code;
    bytes_of_id(connection->study, connection->identity.study);
    bytes_of_id(connection->secret, connection->identity.secret);
    connection->identity.launcher_incarnation = (uint32_t)atol(number);
    connection->encrypts_control = strcmp(encryption, "none") != 0;
    connection->encrypts_data = strcmp(encryption, "all") == 0;
    if (!connection->encrypts_control)
        return ML_OK;
    if ((code = take_line(path, text, "launcher_key", A_KEY, connection->launcher_key, KEY_LENGTH + 1)) < 0 ||
        (code = take_line(path, text, "server_key", A_KEY, connection->server_key, KEY_LENGTH + 1)) < 0)
        return code;
    if (find_line(key_text, "public", connection->own_public, KEY_LENGTH + 1) <= 0 ||
        find_line(key_text, "secret", connection->own_secret, KEY_LENGTH + 1) <= 0 ||
        !has_form(connection->own_public, A_KEY) || !has_form(connection->own_secret, A_KEY))
        return raise_error(ML_ERROR_CONFIGURATION,
                           "job.key beside %s does not hold the lines `public KEY` and `secret KEY`: it was damaged",
                           path);
    return ML_OK;
}

/* Read a small file as text; it is empty and the return value an errno if it cannot be read. */
static int read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "rb");
    size_t length;
    int error;
    text[0] = '\0';
    if (file == NULL)
        return errno;
    errno = 0;
    length = fread(text, 1, size - 1, file);
    error = ferror(file) ? (errno ? errno : EIO) : 0;
    text[length] = '\0';
    fclose(file);
    return error;
}

#define MOST_FILE 8192

/* The files of a study, as text: rank 0 reads them and tells the others. */
struct files {
    char path[4096], connection[MOST_FILE], key[MOST_FILE];
};

static int variable(const char *name, const char **value)
{
    *value = getenv(name);
    if (*value != NULL && **value != '\0')
        return ML_OK;
    return raise_error(
        ML_ERROR_CONFIGURATION,
        "%s is not set: start the solver by `melissa-like run`, or try it alone with `melissa-like check`", name);
}

/* Whether the connection file is of the launcher that has started this process, or of a later one. */
static int is_recent(const char *text)
{
    const char *started_by = getenv("MELISSA_LIKE_LAUNCHER");
    char number[16];
    if (started_by == NULL || !has_form(started_by, A_NUMBER))
        return 1;
    return find_line(text, "launcher_incarnation", number, sizeof number) > 0 && atol(number) >= atol(started_by);
}

/* Read them; a file system that hosts share may show them some seconds late: ten for files that are not there, a minute
 * for those of an earlier launcher. */
static int read_files(struct files *files)
{
    const char *run_dir;
    char key_path[4096 + 16];
    double began = now_s();
    int code = variable("MELISSA_LIKE_RUN_DIR", &run_dir), error;
    if (code < 0)
        return code;
    snprintf(files->path, sizeof files->path, "%s/connection.txt", run_dir);
    snprintf(key_path, sizeof key_path, "%s/job.key", run_dir);
    for (;;) {
        error = read_file(files->path, files->connection, sizeof files->connection);
        if ((error == 0 && is_recent(files->connection)) || now_s() - began > (error == 0 ? 60.0 : 10.0))
            break;
        sleep_s(0.1);
    }
    if (error != 0)
        return raise_error(
            ML_ERROR_CONFIGURATION,
            "%s cannot be read (%s): a solver that connects must be started by `melissa-like run`, or get "
            "MELISSA_LIKE_RUN_DIR of a running study",
            files->path, strerror(error));
    read_file(key_path, files->key, sizeof files->key); /* whether it is needed is not known yet */
    return ML_OK;
}

/* ---- the ranks of a job as a team ------------------------------------------------------------------------------- */

/* A rank that waits inside MPI spins, and takes its core from the solver, the server and the trainer of the same
 * machine. So every collective here is a non-blocking one, tested a few times and then slept on. */

struct team {
    int rank, size;
#ifdef ML_WITH_MPI
    MPI_Comm comm;
#endif
    /* Called while the team waits, with the seconds so far; for what must not wait for the others. */
    void (*while_waiting)(void *context, double waited_s);
    void *context;
};

#ifdef ML_WITH_MPI
static int mpi_failed(int code)
{
    return raise_error(ML_ERROR_TRANSPORT, "MPI failed with code %d in a collective of the client", code);
}

/* No deadline: the other ranks may be held by back-pressure, and a rank that dies takes the MPI job with it. */
static int await_request(struct team *team, MPI_Request *request)
{
    double began = now_s(), pause = 0.0002;
    int done = 0, spins = 0, code;
    for (;;) {
        if ((code = MPI_Test(request, &done, MPI_STATUS_IGNORE)) != MPI_SUCCESS)
            return mpi_failed(code);
        if (done)
            return ML_OK;
        if (spins++ < 64)
            continue;
        if (team->while_waiting != NULL)
            team->while_waiting(team->context, now_s() - began);
        sleep_s(pause);
        pause = pause * 1.5 < LONGEST_SLEEP_S ? pause * 1.5 : LONGEST_SLEEP_S;
    }
}
#endif

/* The element-wise sum over the ranks, on every rank, in place. */
static int team_total(struct team *team, int64_t *values, int number)
{
#ifdef ML_WITH_MPI
    if (team->size > 1) {
        MPI_Request request;
        int code = MPI_Iallreduce(MPI_IN_PLACE, values, number, MPI_INT64_T, MPI_SUM, team->comm, &request);
        return code == MPI_SUCCESS ? await_request(team, &request) : mpi_failed(code);
    }
#endif
    (void)team, (void)values, (void)number;
    return ML_OK;
}

/* Every rank's values, one row per rank, on every rank. */
static int team_gather(struct team *team, const int64_t *mine, int number, int64_t *all)
{
#ifdef ML_WITH_MPI
    if (team->size > 1) {
        MPI_Request request;
        int code = MPI_Iallgather(mine, number, MPI_INT64_T, all, number, MPI_INT64_T, team->comm, &request);
        return code == MPI_SUCCESS ? await_request(team, &request) : mpi_failed(code);
    }
#endif
    (void)team;
    memcpy(all, mine, (size_t)number * sizeof *mine);
    return ML_OK;
}

/* The bytes of one rank on every rank. A rank that has no memory for them fails; the others do not notice. */
static int team_broadcast(struct team *team, int root, struct buffer *bytes)
{
#ifdef ML_WITH_MPI
    if (team->size > 1) {
        int64_t size = (int64_t)bytes->size;
        MPI_Request request;
        int code = MPI_Ibcast(&size, 1, MPI_INT64_T, root, team->comm, &request);
        if (code != MPI_SUCCESS)
            return mpi_failed(code);
        if ((code = await_request(team, &request)) < 0)
            return code;
        if (team->rank != root) {
            bytes->size = 0;
            if (extend(bytes, (size_t)size) == NULL)
                return no_memory();
        }
        if (size == 0)
            return ML_OK;
        code = MPI_Ibcast(bytes->bytes, (int)size, MPI_BYTE, root, team->comm, &request);
        return code == MPI_SUCCESS ? await_request(team, &request) : mpi_failed(code);
    }
#endif
    (void)team, (void)root, (void)bytes;
    return ML_OK;
}

/* ---- the line to the launcher ----------------------------------------------------------------------------------- */

/* Rank 0 of a job holds one from hello to the end; another rank opens its own only when it has something to say, such
 * as that its send stays blocked. Messages are numbered and kept until the launcher acknowledges them; what it has not
 * for a second is said again, then more and more rarely. */

#define REPEAT_AFTER_S 1.0
#define LONGEST_PAUSE_S 16.0
#define MOST_REPEATED 64
#define SILENCE_S 60.0 /* of a launcher that has not welcomed the job yet: after it, it is gone */
#define LISTEN_S 0.2
#define SETTLE_S 2.0

/* A message that was posted and not acknowledged. */
struct posted {
    uint64_t number;
    struct buffer message;
    struct posted *next;
};

struct line {
    void *context; /* ZeroMQ's */
    void *socket;  /* NULL: not opened yet */
    const struct connection *connection;
    char name[256];
    uint64_t num_sent, num_received, num_heard;
    int owes_acknowledgement;
    struct posted *first, *last;
    double waits_since, pause_s; /* below 0: since a moment to be set */
    double patience_s, heard_at, asked_at; /* asked_at below 0: not asked */
    zmq_msg_t received;
    int holds_received;
};

static int zmq_failed(const char *what)
{
    return raise_error(ML_ERROR_TRANSPORT, "%s: %s", what, zmq_strerror(zmq_errno()));
}

static int set_number(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int set_text(void *socket, int option, const char *text)
{
    return zmq_setsockopt(socket, option, text, strlen(text));
}

/* Open a socket, show what lets this process in, and connect it. */
static void *open_socket(void *context, int type, const char *endpoint, const struct connection *connection,
                         const char *identity)
{
    void *socket = zmq_socket(context, type);
    int is_control = type == ZMQ_DEALER, bad;
    if (socket == NULL)
        return NULL;
    bad = set_number(socket, ZMQ_LINGER, 0) | set_number(socket, ZMQ_SNDHWM, 0) |
          set_number(socket, ZMQ_TCP_KEEPALIVE, 1) | set_number(socket, ZMQ_TCP_KEEPALIVE_IDLE, 60) |
          set_number(socket, ZMQ_TCP_KEEPALIVE_INTVL, 20);
    if (is_control ? connection->encrypts_control : connection->encrypts_data)
        bad |= set_text(socket, ZMQ_CURVE_SERVERKEY, is_control ? connection->launcher_key : connection->server_key) |
               set_text(socket, ZMQ_CURVE_PUBLICKEY, connection->own_public) |
               set_text(socket, ZMQ_CURVE_SECRETKEY, connection->own_secret);
    else
        bad |= set_text(socket, ZMQ_PLAIN_USERNAME, connection->study) |
               set_text(socket, ZMQ_PLAIN_PASSWORD, connection->secret);
    if (identity != NULL)
        bad |= set_text(socket, ZMQ_IDENTITY, identity);
    if (strchr(endpoint, '[') != NULL) /* only where it is needed: not every machine has IPv6 */
        bad |= set_number(socket, ZMQ_IPV6, 1);
    if (bad || zmq_connect(socket, endpoint) != 0) {
        int error = zmq_errno();
        zmq_close(socket);
        errno = error;
        return NULL;
    }
    return socket;
}

static void close_socket(void *socket, double linger_s)
{
    set_number(socket, ZMQ_LINGER, linger_s > 0 ? (int)(1000 * linger_s) : 0);
    zmq_close(socket);
}

static void be_patient(struct line *line, double patience_s)
{
    line->patience_s = patience_s;
    line->heard_at = now_s();
    line->asked_at = -1;
}

static void init_line(struct line *line, void *context, const struct connection *connection, const char *job, int rank)
{
    memset(line, 0, sizeof *line);
    line->context = context;
    line->connection = connection;
    line->waits_since = -1;
    line->pause_s = REPEAT_AFTER_S;
    snprintf(line->name, sizeof line->name, "%.200s/%d", job, rank);
    be_patient(line, SILENCE_S);
}

static void forget_first(struct line *line)
{
    struct posted *gone = line->first;
    line->first = gone->next;
    if (line->first == NULL)
        line->last = NULL;
    free_buffer(&gone->message);
    free(gone);
}

static void close_line(struct line *line, double linger_s)
{
    while (line->first != NULL)
        forget_first(line);
    if (line->holds_received)
        zmq_msg_close(&line->received);
    if (line->socket != NULL)
        close_socket(line->socket, linger_s);
    line->holds_received = 0;
    line->socket = NULL;
}

static int open_line(struct line *line)
{
    if (line->socket == NULL)
        line->socket = open_socket(line->context, ZMQ_DEALER, line->connection->endpoint, line->connection, line->name);
    return line->socket == NULL ? zmq_failed("the launcher cannot be reached") : ML_OK;
}

/* Send an envelope; by a socket without a bound on messages this does not block. */
static int say(struct line *line, uint64_t number, const uint8_t *message, size_t size)
{
    struct buffer out = {0};
    int code = open_line(line), sent;
    if (code < 0)
        return code;
    put_envelope(&out, &line->connection->identity, number, line->num_received, message, size);
    line->owes_acknowledgement = 0;
    if (out.failed) {
        free_buffer(&out);
        return no_memory();
    }
    do
        sent = zmq_send(line->socket, out.bytes, out.size, 0);
    while (sent < 0 && zmq_errno() == EINTR);
    free_buffer(&out);
    return sent < 0 ? zmq_failed("a message to the launcher cannot be sent") : ML_OK;
}

/* Send a message, and keep it until it is acknowledged. Takes the bytes of `message`. */
static int post(struct line *line, struct buffer *message)
{
    struct posted *posted = message->failed ? NULL : calloc(1, sizeof *posted);
    if (posted == NULL) {
        free_buffer(message);
        return no_memory();
    }
    posted->number = ++line->num_sent;
    posted->message = *message;
    if (line->last == NULL) {
        line->first = posted;
        line->waits_since = now_s();
    } else {
        line->last->next = posted;
    }
    line->last = posted;
    return say(line, posted->number, posted->message.bytes, posted->message.size);
}

static int post_simple(struct line *line, const char *type)
{
    struct buffer message = {0};
    begin_message(&message, type, 0);
    return post(line, &message);
}

/* Say what is overdue again, or acknowledge. */
static int say_what_is_due(struct line *line)
{
    static const uint8_t acknowledge[] = "\x81\xa4type\xab"
                                         "Acknowledge";
    double now = now_s();
    int code = ML_OK, number = 0;
    struct posted *posted;
    if (line->first != NULL) {
        if (line->waits_since < 0)
            line->waits_since = now;
        if (now - line->waits_since >= line->pause_s) {
            line->waits_since = now;
            line->pause_s = 2 * line->pause_s < LONGEST_PAUSE_S ? 2 * line->pause_s : LONGEST_PAUSE_S;
            for (posted = line->first; posted != NULL && number++ < MOST_REPEATED && code == ML_OK;
                 posted = posted->next)
                code = say(line, posted->number, posted->message.bytes, posted->message.size);
            return code;
        }
    }
    return line->owes_acknowledgement ? say(line, 0, acknowledge, sizeof acknowledge - 1) : ML_OK;
}

/* Take one received envelope. `*is_new`: it is a message that was not taken before. */
static int take_envelope(struct line *line, struct envelope *envelope, int *is_new)
{
    int code = read_envelope(zmq_msg_data(&line->received), zmq_msg_size(&line->received), &line->connection->identity,
                             envelope);
    *is_new = 0;
    if (code < 0)
        return code;
    while (line->first != NULL && line->first->number <= envelope->acknowledged) {
        forget_first(line);
        line->waits_since = -1;
        line->pause_s = REPEAT_AFTER_S;
    }
    if (envelope->number == 0) {
        *is_new = !type_is(envelope, "Acknowledge");
        return ML_OK;
    }
    line->owes_acknowledgement = 1;
    if (envelope->number == line->num_received + 1) {
        line->num_received++;
        *is_new = 1;
    }
    return ML_OK;
}

/* Wait so long for a message; it lies in `line->received` until the next call. Refused and Stop are errors. */
static int listen_for(struct line *line, double timeout_s, struct envelope *envelope, int *is_new)
{
    zmq_pollitem_t item = {NULL, 0, ZMQ_POLLIN, 0};
    int code = open_line(line), ready;
    *is_new = 0;
    if (code < 0)
        return code;
    item.socket = line->socket;
    ready = zmq_poll(&item, 1, (long)ceil(1000 * timeout_s));
    if (ready < 0 && zmq_errno() != EINTR)
        return zmq_failed("waiting for the launcher");
    if (ready > 0) {
        if (line->holds_received)
            zmq_msg_close(&line->received);
        zmq_msg_init(&line->received);
        line->holds_received = 1;
        if (zmq_msg_recv(&line->received, line->socket, ZMQ_DONTWAIT) >= 0) {
            line->num_heard++;
            line->heard_at = now_s();
            line->asked_at = -1;
            if ((code = take_envelope(line, envelope, is_new)) < 0)
                return code;
        } else if (zmq_errno() != EAGAIN && zmq_errno() != EINTR) {
            return zmq_failed("reading from the launcher");
        }
    }
    if ((code = say_what_is_due(line)) < 0)
        return code;
    if (*is_new && (type_is(envelope, "Refused") || type_is(envelope, "Stop"))) {
        char reason[MOST_TEXT];
        read_text(envelope->message, envelope->message_size, "reason", reason, sizeof reason);
        return raise_error(type_is(envelope, "Stop") ? ML_ERROR_STOPPED : ML_ERROR_REFUSED, "%s", reason);
    }
    return ML_OK;
}

/* Ask, or give up. It is not silence that counts, for nobody may have asked or listened, but a question that stays
 * without an answer. All that waits is read before. */
static int require_life(struct line *line)
{
    double now = now_s();
    if (line->asked_at >= 0 && now - line->asked_at >= line->patience_s)
        return raise_error(
            ML_ERROR_STOPPED,
            "the launcher has not answered for %g s: it is gone, or was started again since this job has "
            "read where it is",
            line->patience_s);
    if (line->asked_at >= 0 || now - line->heard_at < 0.1 * line->patience_s)
        return ML_OK;
    line->asked_at = now;
    return post_simple(line, "Acknowledge"); /* numbered, so it must be answered */
}

/* Take what the launcher has said meanwhile, without waiting; ask for a sign of life if it said nothing. */
static int heed(struct line *line)
{
    struct envelope envelope;
    uint64_t before;
    int code, is_new;
    do {
        before = line->num_heard;
        if ((code = listen_for(line, 0.0, &envelope, &is_new)) < 0)
            return code;
    } while (line->num_heard != before);
    return require_life(line);
}

/* Wait for a message of one of two types, as long as the launcher shows signs of life; others are dropped, they answer
 * questions already settled. */
static int expect(struct line *line, const char *type, const char *other, struct envelope *envelope)
{
    line->heard_at = now_s();
    line->asked_at = -1;
    for (;;) {
        uint64_t before = line->num_heard;
        int is_new, code = listen_for(line, LISTEN_S, envelope, &is_new);
        if (code < 0)
            return code;
        if (is_new && (type_is(envelope, type) || type_is(envelope, other)))
            return ML_OK;
        if (line->num_heard == before && (code = require_life(line)) < 0)
            return code;
    }
}

/* Wait until all that was posted is acknowledged, for so long at most. */
static int settle(struct line *line, double timeout_s)
{
    double deadline = now_s() + timeout_s;
    while (line->first != NULL && now_s() < deadline) {
        struct envelope envelope;
        int is_new, code = listen_for(line, LISTEN_S, &envelope, &is_new);
        if (code < 0)
            return code;
    }
    return ML_OK;
}

/* ---- memory in flight ------------------------------------------------------------------------------------------- */

/* ZeroMQ's high-water mark counts messages, so the bound on bytes is kept here: a buffer counts as in flight until
 * ZeroMQ gives it back. Large ones are used again, because a fresh one costs its page faults each time. */

#define ALIGNMENT 64
#define MESSAGE_OVERHEAD_BYTES 512 /* what ZeroMQ holds besides: it is most of a small message */

/* Memory that is lent to ZeroMQ; its bytes follow. */
struct message {
    int is_written_out; /* set on a thread of ZeroMQ's */
    int is_pooled;
    size_t capacity, counted_bytes;
    struct message *next;
} __attribute__((aligned(ALIGNMENT)));

struct message_queue {
    struct message *first, *last;
};

struct in_flight {
    size_t budget_bytes, nbytes, pooled_bytes;
    struct message_queue *sent; /* one per outlet: each is written out in order */
    int num_outlets;
    struct message *pool;
};

static uint8_t *bytes_of(struct message *message)
{
    return (uint8_t *)(message + 1);
}

static struct message *allocate_message(size_t capacity, int is_pooled)
{
    void *memory;
    struct message *message;
    if (capacity > SIZE_MAX - sizeof *message || posix_memalign(&memory, ALIGNMENT, sizeof *message + capacity) != 0)
        return NULL;
    message = memory;
    memset(message, 0, sizeof *message);
    message->capacity = capacity;
    message->is_pooled = is_pooled;
    return message;
}

static void empty_pool(struct in_flight *in_flight)
{
    while (in_flight->pool != NULL) {
        struct message *gone = in_flight->pool;
        in_flight->pool = gone->next;
        free(gone);
    }
    in_flight->pooled_bytes = 0;
}

/* Give memory back; that of a decomposition that changes at every step is not kept for ever. */
static void give_message(struct in_flight *in_flight, struct message *message)
{
    if (message == NULL)
        return;
    if (!message->is_pooled || message->capacity > in_flight->budget_bytes) {
        free(message);
        return;
    }
    if (in_flight->pooled_bytes + message->capacity > in_flight->budget_bytes)
        empty_pool(in_flight);
    message->next = in_flight->pool;
    in_flight->pool = message;
    in_flight->pooled_bytes += message->capacity;
}

/* Memory of this size: the one given back last, which the caches may still hold. */
static struct message *take_message(struct in_flight *in_flight, size_t capacity)
{
    struct message **link;
    for (link = &in_flight->pool; *link != NULL; link = &(*link)->next) {
        if ((*link)->capacity == capacity) {
            struct message *message = *link;
            *link = message->next;
            in_flight->pooled_bytes -= capacity;
            message->next = NULL;
            message->is_written_out = 0;
            return message;
        }
    }
    return allocate_message(capacity, 1);
}

/* Take back what has been written out. */
static void reclaim(struct in_flight *in_flight)
{
    int i;
    for (i = 0; i < in_flight->num_outlets; i++) {
        struct message_queue *queue = &in_flight->sent[i];
        while (queue->first != NULL && __atomic_load_n(&queue->first->is_written_out, __ATOMIC_ACQUIRE)) {
            struct message *gone = queue->first;
            queue->first = gone->next;
            if (queue->first == NULL)
                queue->last = NULL;
            in_flight->nbytes -= gone->counted_bytes;
            give_message(in_flight, gone);
        }
    }
}

/* Whether a message may leave; with nothing in flight any may. */
static int has_room(struct in_flight *in_flight, size_t nbytes)
{
    reclaim(in_flight);
    return in_flight->nbytes == 0 || (in_flight->nbytes + MESSAGE_OVERHEAD_BYTES <= in_flight->budget_bytes &&
                                      nbytes <= in_flight->budget_bytes - in_flight->nbytes - MESSAGE_OVERHEAD_BYTES);
}

/* ZeroMQ has written a message out, or dropped it; called on a thread of its own. */
static void release_message(void *bytes, void *message)
{
    (void)bytes;
    __atomic_store_n(&((struct message *)message)->is_written_out, 1, __ATOMIC_RELEASE);
}

static int send_frame(void *socket, const void *bytes, size_t size, int flags)
{
    int sent;
    do
        sent = zmq_send(socket, bytes, size, flags);
    while (sent < 0 && zmq_errno() == EINTR);
    return sent < 0 ? zmq_failed("a part cannot be sent") : ML_OK;
}

/* Lend the first bytes of a message to ZeroMQ as the last frame. */
static int send_message(struct in_flight *in_flight, int number, void *socket, struct message *message, size_t nbytes,
                        size_t frames_nbytes)
{
    struct message_queue *queue = &in_flight->sent[number];
    zmq_msg_t frame;
    int sent;
    message->is_written_out = 0;
    message->next = NULL;
    message->counted_bytes = message->capacity + frames_nbytes + MESSAGE_OVERHEAD_BYTES;
    if (zmq_msg_init_data(&frame, bytes_of(message), nbytes, release_message, message) != 0) {
        give_message(in_flight, message);
        return no_memory();
    }
    if (queue->last == NULL)
        queue->first = message;
    else
        queue->last->next = message;
    queue->last = message;
    in_flight->nbytes += message->counted_bytes;
    do
        sent = zmq_msg_send(&frame, socket, 0);
    while (sent < 0 && zmq_errno() == EINTR);
    if (sent >= 0)
        return ML_OK;
    zmq_failed("a part cannot be sent");
    zmq_msg_close(&frame); /* the message comes back through its queue */
    return ML_ERROR_TRANSPORT;
}

/* ---- shared memory ---------------------------------------------------------------------------------------------- */

/* Payloads to a server rank of this node through a ring in shared memory; ZeroMQ carries the notices of where each
 * lies. Whether two processes can share memory is tried, not guessed, and in both directions: the server rank shows a
 * token; a client rank that can read it offers a ring; the server rank maps it and writes the token there. */

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__linux__) && defined(MFD_ALLOW_SEALING) && defined(F_ADD_SEALS)
#define HAS_SHARED_MEMORY 1
#else
#define HAS_SHARED_MEMORY 0
#endif

#define TOKEN_BYTES 8

#if HAS_SHARED_MEMORY

#define RING_HEAD_BYTES 4096
#define RING_READ_AT 64
#define RING_PROOF_AT 128
#define RESERVED_AT_ONCE_BYTES ((uint64_t)1 << 20)
#define LARGEST_RING_BYTES ((uint64_t)16 << 20) /* a small ring stays in the caches */
#define BUNDLES_PER_RING 4
#define NOTICE_BYTES 40
#define NOTICE_OVERHEAD_BYTES 512
#define LEAST_NOTICE_BYTES ((uint64_t)1 << 16)

/* Of a ring; it only ever moves down this list. */
enum use { UNTRIED, OFFERED, PROVEN, GIVEN_UP };

/* A payload that was not read when last looked: where it ends, and what its notice takes. */
struct unread {
    uint64_t end, notice_bytes;
    struct unread *next;
};

struct ring {
    enum use use;
    int descriptor;
    uint8_t token[TOKEN_BYTES], proof[TOKEN_BYTES];
    uint8_t *map;
    uint64_t capacity, reserved, written, opened, notice_bytes;
    struct unread *first, *last;
};

/* The token of a probe `PID.DESCRIPTOR.TOKEN`, if this process can read it in the memory of the one that made it. */
static int read_probe(const char *probe, uint8_t *token)
{
    char path[64], link[64], digits[17];
    uint8_t found[TOKEN_BYTES + 1];
    unsigned long pid, descriptor;
    int i, file;
    ssize_t length;
    if (sscanf(probe, "%lu.%lu.%16[0-9a-f]", &pid, &descriptor, digits) != 3 || strlen(digits) != 16)
        return 0;
    for (i = 0; i < TOKEN_BYTES; i++) {
        char byte[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        token[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    snprintf(path, sizeof path, "/proc/%lu/fd/%lu", pid, descriptor);
    length = readlink(path, link, sizeof link - 1);
    if (length < 0)
        return 0;
    link[length] = '\0'; /* looked at before it is opened: it may be a pipe of another process */
    if (strncmp(link, "/memfd:melissa_like_probe ", 26) != 0)
        return 0;
    if ((file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) < 0)
        return 0;
    length = read(file, found, sizeof found);
    close(file);
    return length == TOKEN_BYTES && memcmp(found, token, TOKEN_BYTES) == 0;
}

static int draw_token(uint8_t *token)
{
    int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, token, TOKEN_BYTES);
    if (file >= 0)
        close(file);
    return length == TOKEN_BYTES;
}

static void close_ring(struct ring *ring)
{
    while (ring->first != NULL) {
        struct unread *gone = ring->first;
        ring->first = gone->next;
        free(gone);
    }
    if (ring->map != NULL)
        munmap(ring->map, RING_HEAD_BYTES + ring->capacity);
    if (ring->descriptor >= 0)
        close(ring->descriptor);
    ring->map = NULL;
    ring->descriptor = -1;
}

/* Make the memory; 0 if this process cannot have it. */
static int make_ring(struct ring *ring)
{
    size_t size = RING_HEAD_BYTES + (size_t)ring->capacity;
    ring->descriptor = memfd_create("melissa_like_ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ring->descriptor < 0)
        return 0;
    if (draw_token(ring->token) && fchmod(ring->descriptor, 0600) == 0 &&
        ftruncate(ring->descriptor, (off_t)size) == 0 &&
        fcntl(ring->descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0 &&
        posix_fallocate(ring->descriptor, 0, RING_HEAD_BYTES) == 0) {
        void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->descriptor, 0);
        if (map != MAP_FAILED) {
            ring->map = map;
            memcpy(ring->map, ring->token, TOKEN_BYTES);
            return 1;
        }
    }
    close_ring(ring);
    return 0;
}

static uint64_t ring_read(const struct ring *ring)
{
    return __atomic_load_n((const uint64_t *)(const void *)(ring->map + RING_READ_AT), __ATOMIC_ACQUIRE);
}

/* A payload of no bytes takes something too, or nobody could see that it was read. */
static uint64_t taken(uint64_t nbytes)
{
    return nbytes == 0 ? ALIGNMENT : (nbytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The place of the next payload: 1 if there is room for it now, 0 if not, -1 if the system has no memory left. */
static int open_ring(struct ring *ring, uint64_t nbytes, uint8_t **place)
{
    uint64_t left = ring->capacity - ring->written % ring->capacity;
    uint64_t begin = nbytes <= left ? ring->written : ring->written + left;
    uint64_t read = ring_read(ring), end;
    uint64_t most_notices = ring->capacity / 4 > LEAST_NOTICE_BYTES ? ring->capacity / 4 : LEAST_NOTICE_BYTES;
    while (ring->first != NULL && ring->first->end <= read) {
        struct unread *gone = ring->first;
        ring->notice_bytes -= gone->notice_bytes;
        ring->first = gone->next;
        if (ring->first == NULL)
            ring->last = NULL;
        free(gone);
    }
    if (ring->first != NULL && (begin + nbytes - read > ring->capacity || ring->notice_bytes >= most_notices))
        return 0;
    end = begin % ring->capacity + nbytes;
    if (end > ring->reserved) { /* a page that is not to be had would end the process when it is written */
        uint64_t wanted = end > ring->reserved + RESERVED_AT_ONCE_BYTES ? end : ring->reserved + RESERVED_AT_ONCE_BYTES;
        wanted = wanted < ring->capacity ? wanted : ring->capacity;
        if (posix_fallocate(ring->descriptor, (off_t)(RING_HEAD_BYTES + ring->reserved),
                            (off_t)(wanted - ring->reserved)) != 0)
            return -1;
        ring->reserved = wanted;
    }
    ring->opened = begin;
    *place = ring->map + RING_HEAD_BYTES + begin % ring->capacity;
    return 1;
}

static void encode_notice(const struct ring *ring, uint64_t position, uint64_t nbytes, uint8_t *notice)
{
    uint32_t pid = (uint32_t)getpid(), descriptor = (uint32_t)ring->descriptor;
    memcpy(notice, ring->token, TOKEN_BYTES);
    memcpy(notice + 8, &pid, 4);
    memcpy(notice + 12, &descriptor, 4);
    memcpy(notice + 16, &ring->capacity, 8);
    memcpy(notice + 24, &position, 8);
    memcpy(notice + 32, &nbytes, 8);
}

/* So many bytes are written at the opened place: what the reader must be told. */
static int commit_ring(struct ring *ring, uint64_t nbytes, size_t frames_nbytes, uint8_t *notice)
{
    struct unread *unread = calloc(1, sizeof *unread);
    if (unread == NULL)
        return no_memory();
    ring->written = ring->opened + taken(nbytes);
    unread->end = ring->written;
    unread->notice_bytes = NOTICE_OVERHEAD_BYTES + frames_nbytes + NOTICE_BYTES;
    ring->notice_bytes += unread->notice_bytes;
    if (ring->last == NULL)
        ring->first = unread;
    else
        ring->last->next = unread;
    ring->last = unread;
    encode_notice(ring, ring->opened, nbytes, notice);
    return ML_OK;
}

/* Offer the ring, the first time, and then see whether the server rank has proven that it can read it. */
static int look_at_ring(struct ring *ring, void *socket)
{
    uint8_t notice[NOTICE_BYTES];
    int i, code;
    if (ring->use == UNTRIED) {
        if (!make_ring(ring)) {
            ring->use = GIVEN_UP;
            return ML_OK;
        }
        ring->use = OFFERED;
        for (i = 0; i < 3; i++)
            if ((code = send_frame(socket, "", 0, ZMQ_SNDMORE)) < 0)
                return code;
        encode_notice(ring, 0, 0, notice);
        return send_frame(socket, notice, sizeof notice, 0);
    }
    if (ring->use == OFFERED && memcmp(ring->map + RING_PROOF_AT, ring->proof, TOKEN_BYTES) == 0) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        ring->use = PROVEN;
    }
    return ML_OK;
}

#endif

/* ---- the way to a server rank ----------------------------------------------------------------------------------- */

/* Small parts travel together in a bundle, because a message costs as much as copying many kilobytes: a bundle is an
 * empty frame, an index and a body. */

#define LARGEST_BUNDLE_BYTES ((size_t)1 << 20)

struct outlet {
    int number;
    void *socket;
    size_t plain_bundle_bytes;
    struct message *opened; /* of which the next payload's memory is a part, if it goes through ZeroMQ */
    int opens_ring;
    /* The bundle that is filled, if `body` is not NULL. */
    uint8_t *body;
    size_t body_capacity, body_bytes, free_at, num_parts;
    struct buffer index;
#if HAS_SHARED_MEMORY
    struct ring ring;
#endif
};

struct outlets {
    struct outlet *items;
    int number;
    struct in_flight in_flight;
};

static size_t bundle_bytes(const struct outlet *outlet)
{
#if HAS_SHARED_MEMORY
    if (outlet->ring.use == PROVEN)
        return outlet->ring.capacity / BUNDLES_PER_RING;
#endif
    return outlet->plain_bundle_bytes;
}

/* Memory for the next payload: 1, or 0 while there is no room, or an error. What was opened before and not sent is
 * void. */
static int open_outlet(struct outlets *outlets, struct outlet *outlet, size_t nbytes, uint8_t **place)
{
#if HAS_SHARED_MEMORY
    int code;
    if (outlet->ring.use == UNTRIED || outlet->ring.use == OFFERED)
        if ((code = look_at_ring(&outlet->ring, outlet->socket)) < 0)
            return code;
    outlet->opens_ring = outlet->ring.use == PROVEN && nbytes <= outlet->ring.capacity;
    if (outlet->opens_ring) {
        int opened = open_ring(&outlet->ring, nbytes, place);
        if (opened >= 0)
            return opened;
        outlet->opens_ring = 0; /* what lies in it is still read */
        outlet->ring.use = GIVEN_UP;
    }
#endif
    if (!has_room(&outlets->in_flight, nbytes))
        return 0;
    if (outlet->opened == NULL || outlet->opened->capacity != nbytes) {
        give_message(&outlets->in_flight, outlet->opened);
        outlet->opened = take_message(&outlets->in_flight, nbytes);
        if (outlet->opened == NULL)
            return no_memory();
    }
    *place = bytes_of(outlet->opened);
    return 1;
}

struct frame {
    const void *bytes;
    size_t size;
};

/* Send the first bytes of the opened memory behind these frames. */
static int send_opened(struct outlets *outlets, struct outlet *outlet, const struct frame *frames, int number,
                       size_t nbytes)
{
    struct message *message = outlet->opened;
    size_t frames_nbytes = 0;
    int i, code;
    for (i = 0; i < number; i++) {
        frames_nbytes += frames[i].size;
        if ((code = send_frame(outlet->socket, frames[i].bytes, frames[i].size, ZMQ_SNDMORE)) < 0)
            return code;
    }
#if HAS_SHARED_MEMORY
    if (outlet->opens_ring) {
        uint8_t notice[NOTICE_BYTES];
        if ((code = commit_ring(&outlet->ring, nbytes, frames_nbytes, notice)) < 0 ||
            (code = send_frame(outlet->socket, "", 0, ZMQ_SNDMORE)) < 0)
            return code;
        return send_frame(outlet->socket, notice, sizeof notice, 0);
    }
#endif
    if (nbytes < message->capacity / 4) { /* too little to give the memory away: it stays open */
        struct message *small = allocate_message(nbytes, 0);
        if (small == NULL)
            return no_memory();
        memcpy(bytes_of(small), bytes_of(message), nbytes);
        message = small;
    } else {
        outlet->opened = NULL;
    }
    return send_message(&outlets->in_flight, outlet->number, outlet->socket, message, nbytes, frames_nbytes);
}

/* Send the bundle, if there is one. */
static int push_to(struct outlets *outlets, struct outlet *outlet)
{
    struct frame frames[2] = {{"", 0}, {NULL, 0}};
    int code = ML_OK;
    if (outlet->body != NULL && outlet->num_parts > 0) {
        frames[1].bytes = outlet->index.bytes;
        frames[1].size = outlet->index.size;
        code = send_opened(outlets, outlet, frames, 2, outlet->body_bytes);
    }
    outlet->body = NULL;
    outlet->index.size = outlet->num_parts = outlet->free_at = outlet->body_bytes = 0;
    return code;
}

static int push(struct outlets *outlets)
{
    int i, code = ML_OK;
    for (i = 0; i < outlets->number && code == ML_OK; i++)
        code = push_to(outlets, &outlets->items[i]);
    return code;
}

/* Open memory, and wait for it so long at most, asleep: 1, 0 or an error. */
static int await_outlet(struct outlets *outlets, struct outlet *outlet, size_t nbytes, uint8_t **place,
                        double timeout_s)
{
    double deadline = now_s() + timeout_s, pause = 0.0001;
    int opened = open_outlet(outlets, outlet, nbytes, place), code;
    if (opened == 0 && (code = push(outlets)) < 0) /* what is held for others may wait for long */
        return code;
    while (opened == 0 && now_s() < deadline) {
        sleep_s(pause);
        pause = pause * 1.5 < LONGEST_SLEEP_S ? pause * 1.5 : LONGEST_SLEEP_S;
        opened = open_outlet(outlets, outlet, nbytes, place);
    }
    return opened;
}

static int has_place_in_bundle(const struct outlet *outlet, size_t header_size, size_t nbytes)
{
    size_t most_index = outlet->body_capacity < LARGEST_BUNDLE_BYTES ? outlet->body_capacity : LARGEST_BUNDLE_BYTES;
    return outlet->body != NULL && nbytes <= outlet->body_capacity &&
           outlet->free_at <= outlet->body_capacity - nbytes && outlet->index.size + 8 + header_size <= most_index;
}

/* The place of a payload, in a bundle or alone: 1, or 0 after the time-out, or an error. `keep_part` follows, or
 * nothing if there is nothing to send after all. */
static int place_part(struct outlets *outlets, struct outlet *outlet, size_t header_size, size_t nbytes,
                      uint8_t **place, double timeout_s)
{
    size_t capacity = bundle_bytes(outlet);
    int code;
    if (2 * nbytes > capacity) { /* of which fewer than two fit into a bundle */
        if ((code = push_to(outlets, outlet)) < 0)
            return code;
        return await_outlet(outlets, outlet, nbytes, place, timeout_s);
    }
    if (!has_place_in_bundle(outlet, header_size, nbytes)) {
        uint8_t *body;
        if ((code = push_to(outlets, outlet)) < 0)
            return code;
        if ((code = await_outlet(outlets, outlet, capacity, &body, timeout_s)) <= 0)
            return code;
        outlet->body = body;
        outlet->body_capacity = capacity;
    }
    memset(outlet->body + outlet->body_bytes, 0, outlet->free_at - outlet->body_bytes); /* nothing of before */
    *place = outlet->body + outlet->free_at;
    return 1;
}

/* The payload is in its place: send it, or leave it in the bundle. */
static int keep_part(struct outlets *outlets, struct outlet *outlet, const uint8_t *header, size_t header_size,
                     size_t nbytes)
{
    struct frame frame = {header, header_size};
    if (outlet->body == NULL)
        return send_opened(outlets, outlet, &frame, 1, nbytes);
    put_number(&outlet->index, header_size, 4);
    put_number(&outlet->index, nbytes, 4);
    put_bytes(&outlet->index, header, header_size);
    if (outlet->index.failed)
        return no_memory();
    outlet->num_parts++;
    outlet->body_bytes = outlet->free_at + nbytes;
    outlet->free_at = (outlet->body_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return ML_OK;
}

static int is_flushed(struct outlets *outlets)
{
#if HAS_SHARED_MEMORY
    int i;
    for (i = 0; i < outlets->number; i++) {
        struct ring *ring = &outlets->items[i].ring;
        if (ring->map != NULL && ring_read(ring) < ring->written)
            return 0;
    }
#endif
    reclaim(&outlets->in_flight);
    return outlets->in_flight.nbytes == 0;
}

/* Wait until everything has left this process, for so long at most: 1, 0 or an error. */
static int flush(struct outlets *outlets, double timeout_s)
{
    double deadline = now_s() + timeout_s, pause = 0.0001;
    int code = push(outlets);
    if (code < 0)
        return code;
    while (!is_flushed(outlets)) {
        if (now_s() >= deadline)
            return 0;
        sleep_s(pause);
        pause = pause * 1.5 < LONGEST_SLEEP_S ? pause * 1.5 : LONGEST_SLEEP_S;
    }
    return 1;
}

static int open_outlets(struct outlets *outlets, void *context, const struct welcome *welcome,
                        const struct connection *connection)
{
    size_t number = (size_t)welcome->endpoints.number, budget = (size_t)welcome->budget_bytes, bundle, of_bundles;
    size_t ring_bytes = 0, num_sharing = 0, i;
    outlets->items = calloc(number, sizeof *outlets->items);
    outlets->in_flight.sent = calloc(number, sizeof *outlets->in_flight.sent);
    if (outlets->items == NULL || outlets->in_flight.sent == NULL)
        return no_memory();
    outlets->number = outlets->in_flight.num_outlets = (int)number;
    bundle = budget / (8 * number); /* every outlet may hold one besides what is on its way */
    bundle = bundle < 1 ? 1 : bundle > LARGEST_BUNDLE_BYTES ? LARGEST_BUNDLE_BYTES : bundle;
    for (i = 0; i < number; i++) {
        struct outlet *outlet = &outlets->items[i];
        char address[256];
        const char *endpoint = welcome->endpoints.items[i], *probe = strchr(endpoint, '#');
        size_t length = probe == NULL ? strlen(endpoint) : (size_t)(probe - endpoint);
        outlet->number = (int)i;
        outlet->plain_bundle_bytes = bundle;
#if HAS_SHARED_MEMORY
        outlet->ring.descriptor = -1;
        outlet->ring.use = probe != NULL && read_probe(probe + 1, outlet->ring.proof) ? UNTRIED : GIVEN_UP;
        num_sharing += outlet->ring.use == UNTRIED;
#endif
        snprintf(address, sizeof address, "%.*s", (int)(length < sizeof address ? length : sizeof address - 1),
                 endpoint);
        outlet->socket = open_socket(context, ZMQ_PUSH, address, connection, NULL);
        if (outlet->socket == NULL)
            return zmq_failed("a server rank cannot be reached");
    }
#if HAS_SHARED_MEMORY
    if (num_sharing > 0) {
        uint64_t each = budget / 2 / num_sharing;
        ring_bytes = budget / 2;
        each = each > LARGEST_RING_BYTES ? LARGEST_RING_BYTES : each;
        for (i = 0; i < number; i++) {
            outlets->items[i].ring.capacity = each / ALIGNMENT * ALIGNMENT;
            if (each < BUNDLES_PER_RING * ALIGNMENT)
                outlets->items[i].ring.use = GIVEN_UP;
        }
    }
#endif
    (void)num_sharing;
    of_bundles = number * bundle;
    outlets->in_flight.budget_bytes = budget > ring_bytes + of_bundles ? budget - ring_bytes - of_bundles : 1;
    return ML_OK;
}

/* Close; what has not left within the time is dropped. */
static void close_outlets(struct outlets *outlets, double linger_s)
{
    double deadline = now_s() + linger_s;
    int i;
    flush(outlets, linger_s);
    for (i = 0; i < outlets->number; i++)
        if (outlets->items[i].socket != NULL)
            close_socket(outlets->items[i].socket, deadline - now_s());
}

/* Give the memory back, once ZeroMQ's context has ended: it holds none of it any more. */
static void free_outlets(struct outlets *outlets)
{
    int i;
    reclaim(&outlets->in_flight);
    for (i = 0; i < outlets->number; i++) {
        struct outlet *outlet = &outlets->items[i];
        free(outlet->opened);
        free_buffer(&outlet->index);
#if HAS_SHARED_MEMORY
        close_ring(&outlet->ring);
#endif
    }
    empty_pool(&outlets->in_flight);
    free(outlets->items);
    free(outlets->in_flight.sent);
    memset(outlets, 0, sizeof *outlets);
}

/* ---- conversion ------------------------------------------------------------------------------------------------- */

/* Every value exact up to rounding, or refused: C converts a large number to infinity in silence, or wraps it around,
 * and a network would be trained on that. */

/* IEEE 754 binary16, rounded to nearest, ties to even. */
static uint16_t half_of(double value)
{
    uint64_t bits = bits_of(value), magnitude = bits & (UINT64_MAX >> 1), mantissa = bits & ((UINT64_C(1) << 52) - 1);
    unsigned sign = (unsigned)(bits >> 48) & 0x8000, half;
    if (magnitude > UINT64_C(0x7ff0000000000000)) { /* not a number: one it stays */
        half = (unsigned)(mantissa >> 42);
        return (uint16_t)(sign | 0x7c00 | (half ? half : 1));
    }
    if (magnitude >= UINT64_C(0x40effe0000000000)) /* 65520 and more, infinity too */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < UINT64_C(0x3f10000000000000)) /* below 2**-14: multiples of 2**-24, which an addition rounds to */
        return (uint16_t)(sign | (unsigned)(bits_of(fabs(value) + 268435456.0) - bits_of(268435456.0)));
    half = (unsigned)((magnitude >> 52) - 1008) << 10 | (unsigned)(mantissa >> 42);
    mantissa &= (UINT64_C(1) << 42) - 1;
    if (mantissa > UINT64_C(1) << 41 || (mantissa == UINT64_C(1) << 41 && half % 2 == 1))
        half++; /* a carry into the exponent is right too */
    return (uint16_t)(sign | half);
}

static double double_of(uint16_t half)
{
    uint64_t sign = (uint64_t)(half & 0x8000) << 48, exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff, bits;
    double value;
    if (exponent == 0) {
        value = (double)mantissa / 16777216.0;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? UINT64_C(0x7ff) : exponent + 1008) << 52 | mantissa << 42;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Convert a row of values, `stride` bytes from one to the next. Returns whether one was lost. */
typedef int convert_row(const char *from, int64_t stride, void *to, int64_t number);

#define CONVERT(FROM, TO, STRIDE, VALUE, LOST)                                                                         \
    for (i = 0; i < number; i++) {                                                                                     \
        FROM x;                                                                                                        \
        TO y;                                                                                                          \
        memcpy(&x, from + i * (STRIDE), sizeof x); /* it need not be aligned */                                        \
        y = (TO)(VALUE);                                                                                               \
        lost |= (LOST);                                                                                                \
        out[i] = y;                                                                                                    \
    }

/* Without gaps the compiler can do several values at once. */
#define DEFINE_ROW(NAME, FROM, TO, VALUE, LOST)                                                                        \
    static int NAME(const char *from, int64_t stride, void *to, int64_t number)                                        \
    {                                                                                                                  \
        TO *out = to;                                                                                                  \
        int64_t i;                                                                                                     \
        int lost = 0;                                                                                                  \
        if (stride == (int64_t)sizeof(FROM)) {                                                                         \
            CONVERT(FROM, TO, (int64_t)sizeof(FROM), VALUE, LOST)                                                      \
        } else {                                                                                                       \
            CONVERT(FROM, TO, stride, VALUE, LOST)                                                                     \
        }                                                                                                              \
        return lost;                                                                                                   \
    }

DEFINE_ROW(copy_8, uint8_t, uint8_t, x, 0)
DEFINE_ROW(copy_16, uint16_t, uint16_t, x, 0)
DEFINE_ROW(copy_32, uint32_t, uint32_t, x, 0)
DEFINE_ROW(copy_64, uint64_t, uint64_t, x, 0)
DEFINE_ROW(float_to_double, float, double, x, 0)
DEFINE_ROW(double_to_float, double, float, x, (fabsf(y) > FLT_MAX) & (fabs(x) <= DBL_MAX))
DEFINE_ROW(half_to_float, uint16_t, float, double_of(x), 0)
DEFINE_ROW(half_to_double, uint16_t, double, double_of(x), 0)
DEFINE_ROW(float_to_half, float, uint16_t, half_of((double)x), ((y & 0x7fff) == 0x7c00) & (fabsf(x) <= FLT_MAX))
DEFINE_ROW(double_to_half, double, uint16_t, half_of(x), ((y & 0x7fff) == 0x7c00) & (fabs(x) <= DBL_MAX))
DEFINE_ROW(int8_to_32, int8_t, int32_t, x, 0)
DEFINE_ROW(int16_to_32, int16_t, int32_t, x, 0)
DEFINE_ROW(int64_to_32, int64_t, int32_t, (uint32_t)x, x != (int64_t)y)
DEFINE_ROW(int8_to_64, int8_t, int64_t, x, 0)
DEFINE_ROW(int16_to_64, int16_t, int64_t, x, 0)
DEFINE_ROW(int32_to_64, int32_t, int64_t, x, 0)
DEFINE_ROW(uint16_to_8, uint16_t, uint8_t, x, x > UINT8_MAX)
DEFINE_ROW(uint32_to_8, uint32_t, uint8_t, x, x > UINT8_MAX)
DEFINE_ROW(uint64_to_8, uint64_t, uint8_t, x, x > UINT8_MAX)

/* How to convert; NULL if the kinds differ. */
static convert_row *row_of(int from, int to)
{
    static convert_row *const rows[NUM_DTYPES][NUM_STORAGE_DTYPES] = {
        [ML_FLOAT32] = {copy_32, float_to_double, float_to_half, NULL, NULL, NULL},
        [ML_FLOAT64] = {double_to_float, copy_64, double_to_half, NULL, NULL, NULL},
        [ML_FLOAT16] = {half_to_float, half_to_double, copy_16, NULL, NULL, NULL},
        [ML_INT32] = {NULL, NULL, NULL, copy_32, int32_to_64, NULL},
        [ML_INT64] = {NULL, NULL, NULL, int64_to_32, copy_64, NULL},
        [ML_UINT8] = {NULL, NULL, NULL, NULL, NULL, copy_8},
        [ML_INT8] = {NULL, NULL, NULL, int8_to_32, int8_to_64, NULL},
        [ML_INT16] = {NULL, NULL, NULL, int16_to_32, int16_to_64, NULL},
        [ML_UINT16] = {NULL, NULL, NULL, NULL, NULL, uint16_to_8},
        [ML_UINT32] = {NULL, NULL, NULL, NULL, NULL, uint32_to_8},
        [ML_UINT64] = {NULL, NULL, NULL, NULL, NULL, uint64_to_8},
    };
    return rows[from][to];
}

/* An array of the solver's, and what is to become of its values. */
struct values {
    const char *first;
    int from, to, num_dimensions;
    int64_t shape[ML_MAX_DIMENSIONS], strides[ML_MAX_DIMENSIONS];
};

/* The first value that the target cannot hold, how many there are, and how it is written. */
struct lost {
    int64_t index[ML_MAX_DIMENSIONS], number;
    char value[32];
};

/* Go to the next index in C order; 0 behind the last one. */
static int advance(int num_dimensions, const int64_t *shape, int64_t *index)
{
    int axis;
    for (axis = num_dimensions - 1; axis >= 0; axis--) {
        if (++index[axis] < shape[axis])
            return 1;
        index[axis] = 0;
    }
    return 0;
}

static const char *at_index(const struct values *values, const int64_t *index)
{
    const char *at = values->first;
    int axis;
    for (axis = 0; axis < values->num_dimensions; axis++)
        at += index[axis] * values->strides[axis];
    return at;
}

/* The same elements with as few axes as possible: rows that follow one another become one. */
static struct values merged(const struct values *values)
{
    struct values result = *values;
    int axis, last = 0;
    for (axis = 1; axis < values->num_dimensions; axis++) {
        if (result.strides[last] == values->shape[axis] * values->strides[axis]) {
            result.shape[last] *= values->shape[axis];
            result.strides[last] = values->strides[axis];
        } else {
            last++;
            result.shape[last] = values->shape[axis];
            result.strides[last] = values->strides[axis];
        }
    }
    result.num_dimensions = last + 1;
    return result;
}

/* Convert and copy in one pass, to memory without gaps, which is aligned. Returns whether a value was lost; what was
 * written is void then. There is one element at least. */
static int convert(const struct values *values, void *to)
{
    struct values source = merged(values);
    convert_row *row = row_of(values->from, values->to);
    int last = source.num_dimensions - 1, lost = 0;
    int64_t index[ML_MAX_DIMENSIONS] = {0}, length = source.shape[last];
    size_t row_bytes = (size_t)length * dtype_sizes[values->to];
    char *out = to;
    do {
        const char *from = at_index(&source, index);
        if (values->from == values->to && source.strides[last] == (int64_t)dtype_sizes[values->from])
            memcpy(out, from, row_bytes);
        else
            lost |= row(from, source.strides[last], out, length);
        out += row_bytes;
    } while (advance(last, source.shape, index));
    return lost;
}

/* A value as numpy writes it: floats with as many digits as tell it from its neighbours. */
static void write_value(int dtype, const char *at, char *text, size_t size)
{
    double number = 0;
    int64_t signed_number = 0;
    uint64_t unsigned_number = 0;
    int digits;
    if (dtype_kinds[dtype] == 'i') {
        row_of(dtype, ML_INT64)(at, 8, &signed_number, 1);
        snprintf(text, size, "%lld", (long long)signed_number);
    } else if (dtype_kinds[dtype] == 'u') {
        memcpy(&unsigned_number, at, dtype_sizes[dtype]);
        snprintf(text, size, "%llu", (unsigned long long)unsigned_number);
    } else {
        row_of(dtype, ML_FLOAT64)(at, 8, &number, 1);
        for (digits = 1; digits <= 17; digits++) {
            double back;
            snprintf(text, size, "%.*g", digits, number);
            back = strtod(text, NULL);
            if (dtype == ML_FLOAT32 ? (float)back == (float)number : back == number)
                break;
        }
    }
}

/* Look for what `convert` has found; the slow way, because it happens once. */
static void find_lost(const struct values *values, struct lost *lost)
{
    convert_row *row = row_of(values->from, values->to);
    int64_t index[ML_MAX_DIMENSIONS] = {0};
    uint64_t scratch;
    memset(lost, 0, sizeof *lost);
    do {
        const char *at = at_index(values, index);
        if (row(at, 0, &scratch, 1) && lost->number++ == 0) {
            memcpy(lost->index, index, sizeof index);
            write_value(values->from, at, lost->value, sizeof lost->value);
        }
    } while (advance(values->num_dimensions, values->shape, index));
}

/* ---- boxes ------------------------------------------------------------------------------------------------------ */

#define LARGEST_PIECE_BYTES ((int64_t)2 << 20) /* of which the caches still hold one when it is sent on */
#define MOST_PIECES 256                        /* each is compared with every other when a decomposition is new */

struct box {
    int64_t offset[ML_MAX_DIMENSIONS], shape[ML_MAX_DIMENSIONS];
};

/* Boxes that cover an array of this shape, of so many elements at most each: blocks of rows, or of parts of a row if
 * one is too large. Calls `visit` with each in C order, until it returns an error. `piece` is filled from `axis` on. */
static int cut(int num_dimensions, const int64_t *shape, int axis, int64_t largest, struct box *piece,
               int (*visit)(void *context, const struct box *piece), void *context)
{
    int64_t size = size_of_shape(num_dimensions - axis, shape + axis), row_size, rows, first;
    int code = ML_OK, i;
    if (size <= largest) {
        for (i = axis; i < num_dimensions; i++) {
            piece->offset[i] = 0;
            piece->shape[i] = shape[i];
        }
        return visit(context, piece);
    }
    row_size = size / shape[axis];
    rows = (size + largest - 1) / largest;        /* pieces, were there no rows */
    rows = (shape[axis] + rows - 1) / rows;       /* so that they are of about one size */
    rows = rows < largest / row_size ? rows : largest / row_size;
    rows = rows > 1 ? rows : 1;
    for (first = 0; first < shape[axis] && code == ML_OK; first += rows) {
        int64_t number = rows < shape[axis] - first ? rows : shape[axis] - first;
        int64_t of_a_row = largest / number > 1 ? largest / number : 1;
        piece->offset[axis] = first;
        piece->shape[axis] = number;
        code = axis + 1 < num_dimensions ? cut(num_dimensions, shape, axis + 1, of_a_row, piece, visit, context)
                                         : visit(context, piece);
    }
    return code;
}

static int overlap(int num_dimensions, const struct box *a, const struct box *b)
{
    int i;
    for (i = 0; i < num_dimensions; i++) {
        int64_t first = a->offset[i] > b->offset[i] ? a->offset[i] : b->offset[i];
        int64_t end_a = a->offset[i] + a->shape[i], end_b = b->offset[i] + b->shape[i];
        if (first >= (end_a < end_b ? end_a : end_b))
            return 0;
    }
    return 1;
}

#define MOST_BOXES 1000 /* more say too little to be worth the search */
#define MOST_NAMED 3

struct boxes {
    struct box *items;
    size_t number, capacity;
};

static int add_box(struct boxes *boxes, const struct box *box)
{
    if (boxes->number == boxes->capacity) {
        size_t capacity = boxes->capacity ? 2 * boxes->capacity : 8;
        struct box *grown = realloc(boxes->items, capacity * sizeof *grown);
        if (grown == NULL)
            return no_memory();
        boxes->items = grown;
        boxes->capacity = capacity;
    }
    boxes->items[boxes->number++] = *box;
    return ML_OK;
}

static void free_boxes(struct boxes *boxes)
{
    free(boxes->items);
    memset(boxes, 0, sizeof *boxes);
}

/* Boxes that cover what is left of one when another is taken out. */
static int add_rest(int num_dimensions, struct boxes *rest, const struct box *box, const struct box *taken_out)
{
    struct box left = *box, piece;
    int axis, code = ML_OK;
    if (!overlap(num_dimensions, box, taken_out))
        return add_box(rest, box);
    for (axis = 0; axis < num_dimensions && code == ML_OK; axis++) {
        int64_t begin = left.offset[axis], end = begin + left.shape[axis];
        int64_t first = begin > taken_out->offset[axis] ? begin : taken_out->offset[axis];
        int64_t last = taken_out->offset[axis] + taken_out->shape[axis];
        last = last < end ? last : end;
        piece = left;
        if (first > begin) {
            piece.shape[axis] = first - begin;
            code = add_box(rest, &piece);
        }
        if (end > last && code == ML_OK) {
            piece.offset[axis] = last;
            piece.shape[axis] = end - last;
            code = add_box(rest, &piece);
        }
        left.offset[axis] = first;
        left.shape[axis] = last - first;
    }
    return code;
}

static int compare_boxes(const void *left, const void *right)
{
    const struct box *a = left, *b = right;
    int i;
    for (i = 0; i < ML_MAX_DIMENSIONS; i++)
        if (a->offset[i] != b->offset[i])
            return a->offset[i] < b->offset[i] ? -1 : 1;
    return 0;
}

static void append_box(char *text, size_t size, int num_dimensions, const struct box *box)
{
    append(text, size, "the box at %s of shape %s", shown(num_dimensions, box->offset),
           shown(num_dimensions, box->shape));
}

/* Say which boxes of a field nothing came for; nothing is said if there are too many. */
static void append_missing(char *text, size_t size, const struct field *field, const int64_t *shape,
                           const struct boxes *boxes)
{
    struct boxes left = {0}, rest = {0};
    struct box whole;
    size_t i, j;
    int code;
    memset(&whole, 0, sizeof whole);
    memcpy(whole.shape, shape, (size_t)field->num_dimensions * sizeof *shape);
    code = add_box(&left, &whole);
    for (i = 0; i < boxes->number && code == ML_OK && left.number <= MOST_BOXES; i++) {
        struct boxes swapped = left;
        rest.number = 0;
        for (j = 0; j < left.number && code == ML_OK; j++)
            code = add_rest(field->num_dimensions, &rest, &left.items[j], &boxes->items[i]);
        left = rest;
        rest = swapped;
    }
    if (code == ML_OK && left.number > 0 && left.number <= MOST_BOXES) {
        qsort(left.items, left.number, sizeof *left.items, compare_boxes);
        append(text, size, ": nothing came for ");
        for (i = 0; i < left.number && i < MOST_NAMED; i++) {
            append(text, size, i ? ", " : "");
            append_box(text, size, field->num_dimensions, &left.items[i]);
        }
        if (left.number > MOST_NAMED)
            append(text, size, " and %zu more boxes", left.number - MOST_NAMED);
    }
    free_boxes(&left);
    free_boxes(&rest);
}

static void append_twice(char *text, size_t size, int num_dimensions, const struct boxes *boxes)
{
    size_t i, j;
    for (i = 0; i < boxes->number; i++) {
        for (j = 0; j < i; j++) {
            if (overlap(num_dimensions, &boxes->items[j], &boxes->items[i])) {
                append(text, size, ": ");
                append_box(text, size, num_dimensions, &boxes->items[j]);
                append(text, size, " and ");
                append_box(text, size, num_dimensions, &boxes->items[i]);
                append(text, size, " share elements, which are sent twice");
                return;
            }
        }
    }
}

/* ---- one job ---------------------------------------------------------------------------------------------------- */

#define OPEN_FIELD 0xffff
#define FIXED_HEADER_BYTES 96
#define LARGEST_HEADER_BYTES (FIXED_HEADER_BYTES + 16 * ML_MAX_DIMENSIONS)
#define MOST_POINTS_PER_LIST 65536

enum kind { OPEN, PART, STATIC, SCATTER, INDEX, STATIC_SCATTER };

/* Points by their global numbers; on the wire several lists, of points_per_list each. */
struct list {
    int64_t *numbers, num_points;
    int64_t first_number; /* on the wire */
    unsigned char *is_sent; /* by server rank */
};

/* This rank's part of a field that is sent once, kept for each server rank. */
struct once {
    struct once *next;
    int field, list; /* list below 0: a box */
    struct box box;
    void *values; /* without gaps, as they are sent */
};

/* One simulation. */
struct session {
    int is_open;
    struct assignment assignment;
    int64_t *extents; /* -1: not said */
    struct list *lists;
    int num_lists;
    int64_t num_wire_lists, points_per_list;
    struct once *first_once, *last_once;
    int64_t *static_elements;
    int has_begun; /* the ranks have agreed on extents and static data, or there are none */
    unsigned char *is_opened; /* by server rank: it knows the parameters */
    int64_t *parts_sent, *elements;
    struct boxes *boxes; /* of this step, by field */
    unsigned char *is_scattered; /* by field: a part of this step was */
    int64_t last_step, num_steps;
    int in_step, skips_step, destination;
    double time;
    double mentioned_at, heeded_at;
    /* Whether the next step is so near that what is held may wait for it. */
    double window_began, last_push;
    int steps_in_window, is_fast;
};

struct ml_client {
    struct team team;
    struct connection connection;
    char job[256];
    struct welcome welcome;
    void *context;
    struct line line;
    int has_line;
    struct outlets outlets;
    struct session session;
    int64_t *ballot;
    int ballot_length;
    struct trouble problem; /* of this rank, until the others know it */
    struct trouble over;    /* why the client is good for nothing any more */
    int has_told;
    pid_t pid;
    struct ml_client *next; /* of all that are open in this process */
};

static struct ml_client *open_clients;

static const struct field *field_at(const struct ml_client *client, int number, int is_static)
{
    return &(is_static ? &client->welcome.statics : &client->welcome.fields)->items[number];
}

/* The shape of a field in this simulation. */
static void shape_of(const struct ml_client *client, const struct field *field, int64_t *shape)
{
    memcpy(shape, field->shape, sizeof field->shape);
    if (field->extent >= 0)
        shape[field->num_dimensions - 1] = client->session.is_open ? client->session.extents[field->extent] : -1;
}

static int64_t field_size(const struct ml_client *client, const struct field *field)
{
    int64_t shape[ML_MAX_DIMENSIONS];
    shape_of(client, field, shape);
    return size_of_shape(field->num_dimensions, shape);
}

/* Where this rank is, for a message that others read. */
static const char *place_of(const struct session *session)
{
    static __thread char text[64];
    if (session->in_step)
        snprintf(text, sizeof text, "time step %lld", (long long)session->last_step);
    else if (session->num_steps > 0)
        snprintf(text, sizeof text, "after time step %lld", (long long)session->last_step);
    else
        snprintf(text, sizeof text, "before its first time step");
    return text;
}

static void free_session(struct session *session, int num_fields)
{
    int i;
    free_assignment(&session->assignment);
    for (i = 0; i < session->num_lists; i++) {
        free(session->lists[i].numbers);
        free(session->lists[i].is_sent);
    }
    while (session->first_once != NULL) {
        struct once *gone = session->first_once;
        session->first_once = gone->next;
        free(gone->values);
        free(gone);
    }
    for (i = 0; session->boxes != NULL && i < num_fields; i++)
        free_boxes(&session->boxes[i]);
    free(session->boxes);
    free(session->is_scattered);
    free(session->lists);
    free(session->extents);
    free(session->static_elements);
    free(session->is_opened);
    free(session->parts_sent);
    free(session->elements);
    memset(session, 0, sizeof *session);
}

/* Whether this rank's send has been blocked legitimately: as long as the launcher says that the study lives. */
static int ask_whether_alive(struct ml_client *client, int server_rank)
{
    struct buffer message = {0};
    struct envelope envelope;
    struct welcome welcome;
    uint32_t incarnation;
    int code;
    put_blocked(&message, server_rank);
    if ((code = post(&client->line, &message)) < 0 ||
        (code = expect(&client->line, "Welcome", "Welcome", &envelope)) < 0 ||
        (code = read_welcome(envelope.message, envelope.message_size, &welcome)) < 0)
        return code;
    incarnation = welcome.server_incarnation;
    free_welcome(&welcome);
    if (incarnation != client->welcome.server_incarnation)
        return raise_error(ML_ERROR_STOPPED,
                           "the server ranks were restarted: this attempt ends, a new one fills the holes");
    return ML_OK;
}

/* ---- headers and parts ------------------------------------------------------------------------------------------ */

struct part {
    enum kind kind;
    int field, dtype, num_dimensions;
    uint64_t step;
    double time;
    struct box box;
};

static void store(uint8_t *header, int at, uint64_t number, int num_bytes)
{
    memcpy(header + at, &number, (size_t)num_bytes); /* on a little-endian machine */
}

struct sender {
    const struct identity *identity;
    uint32_t server_incarnation, layout_id;
    int purpose, rank, num_ranks;
    int64_t simulation, attempt;
};

/* The header of a data message as bytes; returns how many. */
static size_t encode_header(const struct sender *sender, const struct part *part, uint8_t *header)
{
    int n = part->num_dimensions;
    uint64_t size = (uint64_t)size_of_shape(n, part->box.shape) * dtype_sizes[part->dtype];
    memcpy(header, "MLPT", 4);
    store(header, 4, WIRE_VERSION, 2);
    store(header, 6, (uint64_t)part->kind, 1);
    store(header, 7, (uint64_t)sender->purpose, 1);
    memcpy(header + 8, sender->identity->study, 16);
    memcpy(header + 24, sender->identity->secret, 16);
    store(header, 40, sender->identity->launcher_incarnation, 4);
    store(header, 44, sender->server_incarnation, 4);
    store(header, 48, (uint64_t)sender->simulation, 4);
    store(header, 52, (uint64_t)sender->attempt, 4);
    store(header, 56, (uint64_t)sender->rank, 4);
    store(header, 60, (uint64_t)sender->num_ranks, 4);
    store(header, 64, sender->layout_id, 4);
    store(header, 68, (uint64_t)part->field, 2);
    store(header, 70, (uint64_t)part->dtype, 1);
    store(header, 71, (uint64_t)n, 1);
    store(header, 72, part->step, 8);
    store(header, 80, bits_of(part->time), 8);
    store(header, 88, size, 8);
    memcpy(header + FIXED_HEADER_BYTES, part->box.offset, 8 * (size_t)n);
    memcpy(header + FIXED_HEADER_BYTES + 8 * n, part->box.shape, 8 * (size_t)n);
    return FIXED_HEADER_BYTES + 16 * (size_t)n;
}

/* Send values as a part; blocks while back-pressure holds it. A value that is lost is an error of the caller, who is
 * told by `*lost`, and nothing was sent. */
static int deliver(struct ml_client *client, int destination, const struct part *part, const struct values *values,
                   int *lost)
{
    struct outlet *outlet = &client->outlets.items[destination];
    struct sender sender;
    uint8_t header[LARGEST_HEADER_BYTES], *place = NULL;
    size_t header_size,
        nbytes = (size_t)size_of_shape(part->num_dimensions, part->box.shape) * dtype_sizes[part->dtype];
    int code;
    sender.identity = &client->connection.identity;
    sender.server_incarnation = client->welcome.server_incarnation;
    sender.layout_id = client->welcome.layout_id;
    sender.purpose = client->session.assignment.purpose;
    sender.rank = client->team.rank;
    sender.num_ranks = client->team.size;
    sender.simulation = client->session.assignment.simulation;
    sender.attempt = client->session.assignment.attempt;
    header_size = encode_header(&sender, part, header);
    while ((code = place_part(&client->outlets, outlet, header_size, nbytes, &place, client->welcome.heartbeat_s)) == 0)
        if ((code = ask_whether_alive(client, destination)) < 0)
            return code;
    if (code < 0)
        return code;
    *lost = nbytes > 0 && convert(values, place);
    if (*lost)
        return ML_OK;
    if (part->kind != OPEN)
        client->session.parts_sent[destination]++;
    return keep_part(&client->outlets, outlet, header, header_size, nbytes);
}

static int raise_lost(struct ml_client *client, const struct field *field, const struct values *values,
                      const int64_t *offset)
{
    struct lost lost;
    int64_t index[ML_MAX_DIMENSIONS];
    int i;
    find_lost(values, &lost);
    for (i = 0; i < values->num_dimensions; i++)
        index[i] = lost.index[i] + offset[i];
    return raise_error(
        ML_ERROR_CONTRACT,
        "field '%s': rank %d sent %s at index %s of the field, which the declared dtype %s cannot hold "
        "(%lld such values in this part): declare another dtype under solver.fields, or send values that "
        "it holds",
        field->name, client->team.rank, lost.value, shown(values->num_dimensions, index), dtype_names[field->dtype],
        (long long)lost.number);
}

/* What the pieces of a box have in common. */
struct cutting {
    struct ml_client *client;
    const struct field *field;
    const struct values *values;
    const int64_t *offset;
    struct part part;
    int destination;
};

static int send_piece(void *context, const struct box *piece)
{
    struct cutting *cutting = context;
    struct values values = *cutting->values;
    int i, lost, code;
    values.first = at_index(cutting->values, piece->offset);
    memcpy(values.shape, piece->shape, sizeof values.shape);
    memcpy(cutting->part.box.shape, piece->shape, sizeof values.shape);
    for (i = 0; i < values.num_dimensions; i++)
        cutting->part.box.offset[i] = cutting->offset[i] + piece->offset[i];
    code = deliver(cutting->client, cutting->destination, &cutting->part, &values, &lost);
    if (code == ML_OK && lost)
        return raise_lost(cutting->client, cutting->field, &values, cutting->part.box.offset);
    return code;
}

/* Send a box of a field, in pieces if it is large. There is one element at least. */
static int send_box(struct ml_client *client, int destination, enum kind kind, int number, const struct values *values,
                    const int64_t *offset)
{
    struct cutting cutting;
    struct box piece;
    int is_static = kind == STATIC;
    int64_t itemsize, size = size_of_shape(values->num_dimensions, values->shape), largest;
    memset(&piece, 0, sizeof piece);
    memset(&cutting, 0, sizeof cutting);
    cutting.client = client;
    cutting.field = field_at(client, number, is_static);
    cutting.values = values;
    cutting.offset = offset;
    cutting.destination = destination;
    cutting.part.kind = kind;
    cutting.part.field = number;
    cutting.part.dtype = cutting.field->dtype;
    cutting.part.num_dimensions = values->num_dimensions;
    cutting.part.step = is_static ? 0 : (uint64_t)client->session.last_step;
    cutting.part.time = is_static ? NAN : client->session.time;
    itemsize = (int64_t)dtype_sizes[cutting.field->dtype];
    largest = LARGEST_PIECE_BYTES / itemsize;
    if (largest < (size + MOST_PIECES - 1) / MOST_PIECES)
        largest = (size + MOST_PIECES - 1) / MOST_PIECES;
    return cut(values->num_dimensions, values->shape, 0, largest, &piece, send_piece, &cutting);
}

static void set_values(struct values *values, const void *first, int from, int to, int num_dimensions,
                       const int64_t *shape, const int64_t *strides)
{
    int64_t stride = (int64_t)dtype_sizes[from];
    int axis;
    memset(values, 0, sizeof *values);
    values->first = first;
    values->from = from;
    values->to = to;
    values->num_dimensions = num_dimensions;
    for (axis = num_dimensions - 1; axis >= 0; axis--) {
        values->shape[axis] = shape[axis];
        values->strides[axis] = strides == NULL ? stride : strides[axis];
        stride *= shape[axis];
    }
}

/* Bytes of one point of a field on points; 0 of another. */
static int64_t point_bytes_of(const struct field *field)
{
    return field->extent < 0 ? 0
                             : size_of_shape(field->num_dimensions - 1, field->shape) *
                                   (int64_t)dtype_sizes[field->dtype];
}

/* How long the lists on the wire are: values at the points of one have at most LARGEST_PIECE_BYTES. All fields share the
 * lists, so the one with the most bytes per point decides. */
static int64_t points_per_list(const struct welcome *welcome)
{
    int64_t widest = 1, bytes, number;
    int i;
    for (i = 0; i < welcome->fields.number; i++)
        if ((bytes = point_bytes_of(&welcome->fields.items[i])) > widest)
            widest = bytes;
    for (i = 0; i < welcome->statics.number; i++)
        if ((bytes = point_bytes_of(&welcome->statics.items[i])) > widest)
            widest = bytes;
    number = LARGEST_PIECE_BYTES / widest;
    return number > MOST_POINTS_PER_LIST ? MOST_POINTS_PER_LIST : number > 0 ? number : 1;
}

static int64_t points_in(const struct list *list, int64_t chunk, int64_t per_list)
{
    int64_t left = list->num_points - chunk * per_list;
    return left < per_list ? left : per_list;
}

static int send_list(struct ml_client *client, int destination, struct list *list)
{
    struct part part = {INDEX, 0, ML_INT64, 1, 0, NAN, {{0}, {0}}};
    int64_t per_list = client->session.points_per_list, chunk;
    int code, lost;
    for (chunk = 0; chunk * per_list < list->num_points; chunk++) {
        struct values values;
        part.field = (int)(list->first_number + chunk);
        part.box.shape[0] = points_in(list, chunk, per_list);
        set_values(&values, list->numbers + chunk * per_list, ML_INT64, ML_INT64, 1, part.box.shape, NULL);
        if ((code = deliver(client, destination, &part, &values, &lost)) < 0)
            return code;
    }
    list->is_sent[destination] = 1;
    return ML_OK;
}

/* Send values at the points of a list, the list before it if need be. */
static int send_points(struct ml_client *client, int destination, enum kind kind, int number,
                       const struct values *values, int list_number)
{
    struct list *list = &client->session.lists[list_number];
    int is_static = kind == STATIC_SCATTER, last = values->num_dimensions - 1, code, lost;
    const struct field *field = field_at(client, number, is_static);
    struct part part;
    int64_t per_list = client->session.points_per_list, chunk;
    if (!list->is_sent[destination] && (code = send_list(client, destination, list)) < 0)
        return code;
    memset(&part, 0, sizeof part);
    part.kind = kind;
    part.field = number;
    part.dtype = field->dtype;
    part.num_dimensions = values->num_dimensions;
    part.step = is_static ? 0 : (uint64_t)client->session.last_step;
    part.time = is_static ? NAN : client->session.time;
    memcpy(part.box.shape, values->shape, sizeof values->shape);
    for (chunk = 0; chunk * per_list < list->num_points; chunk++) {
        struct values points = *values;
        points.first += chunk * per_list * values->strides[last];
        points.shape[last] = part.box.shape[last] = points_in(list, chunk, per_list);
        part.box.offset[last] = list->first_number + chunk;
        if ((code = deliver(client, destination, &part, &points, &lost)) < 0)
            return code;
        if (lost) {
            struct lost what;
            find_lost(&points, &what);
            return raise_error(
                ML_ERROR_CONTRACT,
                "field '%s': rank %d sent %s at point %lld, which the declared dtype %s cannot hold (%lld "
                "such values in this part): declare another dtype under solver.fields, or send values "
                "that it holds",
                field->name, client->team.rank, what.value,
                (long long)list->numbers[chunk * per_list + what.index[last]], dtype_names[field->dtype],
                (long long)what.number);
        }
    }
    return ML_OK;
}

/* Tell a server rank the parameters, the extents, and all that is sent once. */
static int open_destination(struct ml_client *client, int destination)
{
    struct session *session = &client->session;
    struct part part = {OPEN, OPEN_FIELD, ML_FLOAT64, 1, 0, NAN, {{0}, {0}}};
    int num_parameters = session->assignment.num_parameters, num_extents = client->welcome.extents.number, i, code,
        lost;
    struct values values;
    struct once *once;
    double *numbers;
    if (session->is_opened[destination])
        return ML_OK;
    numbers = calloc((size_t)num_parameters + (size_t)num_extents + 1, sizeof *numbers);
    if (numbers == NULL)
        return no_memory();
    for (i = 0; i < num_parameters; i++)
        numbers[i] = session->assignment.parameters[i];
    for (i = 0; i < num_extents; i++)
        numbers[num_parameters + i] = (double)session->extents[i];
    part.box.shape[0] = num_parameters + num_extents;
    set_values(&values, numbers, ML_FLOAT64, ML_FLOAT64, 1, part.box.shape, NULL);
    code = deliver(client, destination, &part, &values, &lost);
    free(numbers);
    if (code < 0)
        return code;
    session->is_opened[destination] = 1;
    for (once = session->first_once; once != NULL && code == ML_OK; once = once->next) {
        const struct field *field = field_at(client, once->field, 1);
        set_values(&values, once->values, field->dtype, field->dtype, field->num_dimensions, once->box.shape, NULL);
        code = once->list < 0 ? send_box(client, destination, STATIC, once->field, &values, once->box.offset)
                              : send_points(client, destination, STATIC_SCATTER, once->field, &values, once->list);
    }
    return code;
}

/* ---- ending together -------------------------------------------------------------------------------------------- */

/* Whatever one rank fails at goes into the next collective; then every rank returns an error, or none. So no rank waits
 * for one that has given up. The words of the first rank go to all: whichever speaks for the job, tells the reason. */

#define FLUSH_S 1.0
#define IMPATIENT_S 10.0
#define LABELS 1000003

enum phase { STEPPING, BEGINNING, CLOSING };

/* Of a ballot: how many ranks stop, fail, begin, close; then numbers that are added up over the ranks. */
enum { STOPPED, BROKEN, BEGINS, CLOSES, NUM_VOTES };

static int num_server_ranks(const struct ml_client *client)
{
    return client->welcome.endpoints.number;
}

static int64_t *elements_in(struct ml_client *client)
{
    return client->ballot + NUM_VOTES + num_server_ranks(client);
}

/* Two numbers by whose sums the ranks know whether all of them say the same: then, and only then, the mean of the
 * squares is the square of the mean. Modulo 2**64, which a difference of fewer labels does not reach by chance. */
static void put_label(int64_t *place, int64_t number)
{
    int64_t label = number < 0 ? 0 : number % LABELS;
    place[0] = label;
    place[1] = label * label;
}

static int labels_agree(const int64_t *totals, int num_ranks)
{
    return (uint64_t)num_ranks * (uint64_t)totals[1] == (uint64_t)totals[0] * (uint64_t)totals[0];
}

/* Tell the launcher why this simulation fails; the first report counts. What cannot be told is in the log. */
static void tell(struct ml_client *client, int rank, const struct trouble *trouble)
{
    struct buffer message = {0};
    struct trouble kept = last_error;
    char text[MOST_TEXT + 64];
    if (client->has_told || !client->session.is_open || trouble->code == ML_ERROR_STOPPED)
        return;
    client->has_told = 1;
    snprintf(text, sizeof text, "rank %d, %s", rank, trouble->text);
    put_failure(&message, client->session.assignment.simulation, client->session.assignment.attempt, text,
                trouble->code == ML_ERROR_CONTRACT);
    if (post(&client->line, &message) < 0 || settle(&client->line, SETTLE_S) < 0)
        fprintf(stderr, "melissa_like: the launcher could not be told (%s)\n", last_error.text);
    last_error = kept;
}

static void add_place(struct trouble *trouble, const struct session *session)
{
    char text[MOST_TEXT];
    memcpy(text, trouble->text, sizeof text);
    trouble->text[0] = '\0';
    append(trouble->text, sizeof trouble->text, "%s: %s", place_of(session), text);
}

/* A rank that has failed waits for the others in the next collective. If they do not come, because they wait for this
 * one in a call of the solver's own, the launcher is told all the same, and ends the job. */
static void tell_alone(void *context, double waited_s)
{
    struct ml_client *client = context;
    struct trouble why = client->problem;
    if (why.code >= 0 || waited_s <= IMPATIENT_S)
        return;
    add_place(&why, &client->session);
    tell(client, client->team.rank, &why);
}

/* The trouble of the first rank that has any, on every rank; that of one that failed before that of one that stops. */
static int first_trouble(struct team *team, const struct trouble *mine, struct trouble *told, int *rank)
{
    int64_t weight = mine->code == 0 ? 0 : mine->code == ML_ERROR_STOPPED ? 1 : 2;
    int64_t *weights = calloc((size_t)team->size, sizeof *weights);
    struct buffer bytes = {0};
    int code, i, first = 0;
    memset(told, 0, sizeof *told);
    if (weights == NULL)
        return no_memory();
    code = team_gather(team, &weight, 1, weights);
    for (i = 1; i < team->size && code == ML_OK; i++)
        if (weights[i] > weights[first])
            first = i;
    *rank = first;
    weight = weights[first];
    free(weights);
    if (code < 0 || weight == 0)
        return code;
    if (team->rank == first)
        put_bytes(&bytes, mine, sizeof *mine);
    code = bytes.failed ? no_memory() : team_broadcast(team, first, &bytes);
    if (code == ML_OK && bytes.size == sizeof *told)
        memcpy(told, bytes.bytes, sizeof *told);
    free_buffer(&bytes);
    return code;
}

/* What the other ranks return because of one's trouble. */
static struct trouble trouble_of_other(const struct trouble *told, int rank)
{
    struct trouble result = *told;
    if (told->code == ML_ERROR_TRANSPORT || told->code == ML_ERROR_MEMORY || told->code == ML_ERROR_USAGE) {
        result.code = ML_ERROR_FAILED;
        result.text[0] = '\0';
        append(result.text, sizeof result.text, "rank %d of this job failed: %s", rank, told->text);
    }
    return result;
}

/* Every rank returns an error: its own, or that of the first rank that has one. */
static int end_together(struct ml_client *client)
{
    struct trouble mine = client->problem, told;
    int64_t nothing = 0;
    int code, rank = 0;
    if (mine.code != 0)
        add_place(&mine, &client->session);
    code = first_trouble(&client->team, &mine, &told, &rank);
    if (code < 0)
        told = last_error;
    client->over = client->problem.code != 0 ? client->problem : trouble_of_other(&told, rank);
    if (told.code != ML_ERROR_STOPPED)
        flush(&client->outlets, FLUSH_S); /* what was sent before leaves before it is told: it is trained on */
    if (client->team.rank == 0)
        tell(client, rank, &told);
    /* Where the first rank that returns ends the job: not before the reason has been said. */
    team_total(&client->team, &nothing, 1);
    memset(&client->problem, 0, sizeof client->problem);
    return raise_trouble(&client->over);
}

/* ---- time steps ------------------------------------------------------------------------------------------------- */

#define WINDOW_S 0.02
#define FAST_STEPS 20
#define HELD_S 0.005
#define MENTION_EVERY_S 1.0
#define HEED_EVERY_S 1.0

static int name_steps(struct ml_client *client, int64_t step)
{
    int64_t *steps = calloc((size_t)client->team.size, sizeof *steps);
    int code = steps == NULL ? no_memory() : team_gather(&client->team, &step, 1, steps), other = 0;
    if (code == ML_OK) {
        while (other < client->team.size - 1 && steps[other] == steps[0])
            other++;
        code = raise_error(ML_ERROR_CONTRACT,
                           "rank 0 sends time step %lld while rank %d sends time step %lld: every rank sends the same "
                           "steps, in the same order",
                           (long long)steps[0], other, (long long)steps[other]);
    }
    free(steps);
    return code;
}

/* Go on together, or end together. The totals of all ballots are in `client->ballot` then. */
static int vote(struct ml_client *client, enum phase phase)
{
    struct session *session = &client->session;
    int num_ranks = num_server_ranks(client), num_fields = client->welcome.fields.number, i, code;
    int num_statics = client->welcome.statics.number, num_extents = client->welcome.extents.number;
    int64_t *ballot = client->ballot, *statics, *labels;
    memset(ballot, 0, (size_t)client->ballot_length * sizeof *ballot);
    ballot[STOPPED] = client->problem.code == ML_ERROR_STOPPED;
    ballot[BROKEN] = client->problem.code != 0 && !ballot[STOPPED];
    ballot[BEGINS] = phase == BEGINNING;
    ballot[CLOSES] = phase == CLOSING;
    memcpy(ballot + NUM_VOTES, session->parts_sent, (size_t)num_ranks * sizeof *ballot);
    if (phase == STEPPING)
        memcpy(elements_in(client), session->elements, (size_t)num_fields * sizeof *ballot);
    statics = elements_in(client) + num_fields;
    memcpy(statics, session->static_elements, (size_t)num_statics * sizeof *ballot);
    labels = statics + num_statics;
    for (i = 0; i < num_extents; i++)
        put_label(labels + 2 * i, session->extents[i]);
    labels += 2 * num_extents;
    put_label(labels, phase == STEPPING ? session->last_step : 0);
    code = team_total(&client->team, ballot, client->ballot_length);
    if (code < 0) {
        client->over = last_error;
        return code;
    }
    if (ballot[STOPPED] == 0 && ballot[BROKEN] == 0) {
        int same = (ballot[BEGINS] == 0 || ballot[BEGINS] == client->team.size) &&
                   (ballot[CLOSES] == 0 || ballot[CLOSES] == client->team.size);
        if (same && (phase != STEPPING || labels_agree(labels, client->team.size)))
            return ML_OK;
        code = ML_OK;
        if (same)
            code = name_steps(client, session->last_step);
        else if (phase != CLOSING)
            code = raise_error(ML_ERROR_CONTRACT,
                               "this rank sends time step %lld while another rank has sent its last one: every rank of "
                               "the solver sends the same number of steps, with an empty part where it has nothing",
                               (long long)session->last_step);
        if (code < 0)
            client->problem = last_error;
    }
    return end_together(client);
}

/* This rank has failed, with the last error: all ranks end. */
static int fail_together(struct ml_client *client)
{
    client->problem = last_error;
    return vote(client, STEPPING);
}

/* The boxes of a field of all ranks, on every rank; none if they are too many. Every rank calls it. */
static int gather_boxes(struct ml_client *client, const struct boxes *mine, int num_dimensions, struct boxes *all)
{
    struct team *team = &client->team;
    int64_t number = (int64_t)mine->number, most = 0, *numbers, *rows = NULL, *row = NULL;
    int width = 2 * num_dimensions, code, rank;
    int64_t i;
    memset(all, 0, sizeof *all);
    numbers = calloc((size_t)team->size, sizeof *numbers);
    if (numbers == NULL)
        return no_memory();
    code = team_gather(team, &number, 1, numbers);
    for (rank = 0; rank < team->size; rank++)
        most = numbers[rank] > most ? numbers[rank] : most;
    if (code == ML_OK && most > 0 && most <= MOST_BOXES) {
        row = calloc((size_t)(most * width), sizeof *row);
        rows = calloc((size_t)(most * width) * (size_t)team->size, sizeof *rows);
        if (row == NULL || rows == NULL)
            code = no_memory();
        for (i = 0; i < number && code == ML_OK; i++) {
            memcpy(row + i * width, mine->items[i].offset, 8 * (size_t)num_dimensions);
            memcpy(row + i * width + num_dimensions, mine->items[i].shape, 8 * (size_t)num_dimensions);
        }
        if (code == ML_OK)
            code = team_gather(team, row, (int)(most * width), rows);
        for (rank = 0; rank < team->size && code == ML_OK; rank++) {
            for (i = 0; i < numbers[rank] && code == ML_OK; i++) {
                const int64_t *at = rows + (rank * most + i) * width;
                struct box box;
                memset(&box, 0, sizeof box);
                memcpy(box.offset, at, 8 * (size_t)num_dimensions);
                memcpy(box.shape, at + num_dimensions, 8 * (size_t)num_dimensions);
                code = add_box(all, &box);
            }
        }
    }
    free(row);
    free(rows);
    free(numbers);
    return code;
}

/* How the parts of a field miss it; on all ranks. `boxes`: of this rank; NULL if parts of it were scattered. */
static int name_gap(struct ml_client *client, const struct field *field, const struct boxes *boxes, int64_t sent,
                    const char *where)
{
    char text[MOST_TEXT];
    int64_t shape[ML_MAX_DIMENSIONS], size = field_size(client, field), any = boxes == NULL;
    struct boxes all = {0}, none = {0};
    int code = team_total(&client->team, &any, 1); /* one rank may send boxes where another sends points */
    if (code < 0)
        return code;
    if (sent == 0)
        return raise_error(ML_ERROR_CONTRACT,
                           "no rank has sent field '%s': send every field of solver.%s%s, or do not "
                           "declare it",
                           field->name, where,
                           strcmp(where, "fields") ? " once, before the first time step" : " in each time step");
    shape_of(client, field, shape);
    text[0] = '\0';
    append(text, sizeof text, "the ranks have sent %lld elements of field '%s', which has %lld", (long long)sent,
           field->name, (long long)size);
    if (any == 0) {
        code = gather_boxes(client, boxes == NULL ? &none : boxes, field->num_dimensions, &all);
        if (code == ML_OK && sent > size)
            append_twice(text, sizeof text, field->num_dimensions, &all);
        else if (code == ML_OK && all.number > 0)
            append_missing(text, sizeof text, field, shape, &all);
        free_boxes(&all);
    }
    if (code < 0)
        return code;
    return raise_error(ML_ERROR_CONTRACT, "%s; the %s of the ranks do not cover the field: send each element once%s",
                       text, any ? "points" : "boxes", strcmp(where, "fields") ? "" : " per time step");
}

/* Whether the ranks have said the same sizes, and sent together what is sent once. */
static int begin(struct ml_client *client)
{
    struct session *session = &client->session;
    int num_statics = client->welcome.statics.number, i, code = ML_OK;
    const int64_t *statics = elements_in(client) + client->welcome.fields.number, *labels = statics + num_statics;
    for (i = 0; i < client->welcome.extents.number && code == ML_OK; i++)
        if (session->extents[i] < 0)
            code = raise_error(ML_ERROR_CONTRACT,
                               "the extent '%s' was not given: say its size in this simulation with "
                               "ml_set_extent, before the first time step",
                               client->welcome.extents.items[i]);
    if (code < 0)
        return fail_together(client);
    if ((code = vote(client, BEGINNING)) < 0)
        return code;
    session->has_begun = 1;
    for (i = 0; i < client->welcome.extents.number; i++) {
        if (!labels_agree(labels + 2 * i, client->team.size)) {
            raise_error(ML_ERROR_CONTRACT,
                        "the ranks give the extent '%s' different sizes, this one %lld: all ranks give "
                        "the size of the whole mesh",
                        client->welcome.extents.items[i], (long long)session->extents[i]);
            return fail_together(client);
        }
    }
    for (i = 0; i < num_statics; i++) {
        const struct field *field = field_at(client, i, 1);
        if (statics[i] != field_size(client, field)) {
            struct boxes boxes = {0};
            struct once *once;
            int is_scattered = 0;
            for (once = session->first_once; once != NULL; once = once->next) {
                if (once->field != i)
                    continue;
                is_scattered |= once->list >= 0;
                if (add_box(&boxes, &once->box) < 0)
                    is_scattered = 1; /* without memory for them the boxes are not named */
            }
            name_gap(client, field, is_scattered ? NULL : &boxes, statics[i], "static");
            free_boxes(&boxes);
            return fail_together(client);
        }
    }
    return ML_OK;
}

/* At the end of a step, whether everything is to leave. A solver that has made more than one step in a millisecond for
 * a while sends several in one message, which is much cheaper. */
static int pushes(struct session *session, double now)
{
    double elapsed = now - session->window_began;
    session->steps_in_window++;
    if (elapsed >= WINDOW_S) {
        session->is_fast = elapsed < 2 * WINDOW_S && session->steps_in_window >= FAST_STEPS;
        session->window_began = now;
        session->steps_in_window = 0;
    }
    if (session->is_fast && now - session->last_push < HELD_S)
        return 0;
    session->last_push = now;
    return 1;
}

/* The end of a step, but for the other ranks: what is held leaves, the launcher is heard, and hears of a step that need
 * not be sent, of which it sees nothing. */
static int finish_step(struct ml_client *client)
{
    struct session *session = &client->session;
    double now = now_s();
    int code = ML_OK;
    if (pushes(session, now))
        code = push(&client->outlets);
    if (code < 0 || client->team.rank != 0)
        return code;
    if (now - session->heeded_at >= HEED_EVERY_S) {
        session->heeded_at = now;
        code = heed(&client->line);
    }
    if (session->skips_step && code == ML_OK && now - session->mentioned_at >= MENTION_EVERY_S) {
        struct buffer message = {0};
        session->mentioned_at = now;
        put_attempt(&message, "Recomputes", 0, session->assignment.simulation, session->assignment.attempt);
        code = message.failed ? no_memory() : say(&client->line, 0, message.bytes, message.size);
        free_buffer(&message);
    }
    return code;
}

/* ---- checks of arguments ---------------------------------------------------------------------------------------- */

static int abort_if_asked(struct ml_client *client, int code);

/* Whether a call may be made: NULL, a forked process, or an error before. */
static int require_client(struct ml_client *client)
{
    if (client == NULL)
        return raise_error(ML_ERROR_USAGE, "the client is NULL: connect first, with ml_connect or ml_connect_mpi");
    if (getpid() != client->pid)
        return raise_error(
            ML_ERROR_USAGE,
            "process %ld was forked from process %ld, which has connected, and cannot use its connection: "
            "connect in the process that sends, after the fork",
            (long)getpid(), (long)client->pid);
    return client->over.code < 0 ? raise_trouble(&client->over) : ML_OK;
}

static int require_session(struct ml_client *client)
{
    int code = require_client(client);
    if (code == ML_OK && !client->session.is_open)
        return raise_error(ML_ERROR_USAGE, "no simulation is open: call ml_next_simulation first");
    return code;
}

static int raise_undeclared(const struct ml_client *client, const char *name, int is_static)
{
    const struct fields *fields = is_static ? &client->welcome.statics : &client->welcome.fields;
    const char *where = is_static ? "static" : "fields";
    char declared[4096] = "";
    int i;
    for (i = 0; i < fields->number; i++)
        append(declared, sizeof declared, "%s'%s'", i ? ", " : "", fields->items[i].name);
    return raise_error(ML_ERROR_CONTRACT,
                       "field '%s' is not declared: solver.%s declares %s; declare it or do not send it",
                       name == NULL ? "" : name, where, declared[0] ? declared : "nothing");
}

static int find_field(const struct fields *fields, const char *name)
{
    int i;
    for (i = 0; name != NULL && i < fields->number; i++)
        if (strcmp(fields->items[i].name, name) == 0)
            return i;
    return -1;
}

/* An array as the caller gave it. */
struct given {
    const char *name;
    int dtype, num_dimensions;
    const void *first;
    const int64_t *offset, *shape, *strides;
};

/* Check an array against the declaration: the field's number, and its values. An empty one has `*size` 0. */
static int check_array(struct ml_client *client, const struct given *given, int is_static, int *number,
                       struct values *values, int64_t *size)
{
    const struct field *field;
    int axis;
    *number = find_field(is_static ? &client->welcome.statics : &client->welcome.fields, given->name);
    if (*number < 0)
        return raise_undeclared(client, given->name, is_static);
    field = field_at(client, *number, is_static);
    if (given->dtype < 0 || given->dtype >= NUM_DTYPES)
        return raise_error(ML_ERROR_CONTRACT,
                           "field '%s': an array of the type %d was sent: give one of ML_FLOAT64 and "
                           "the others of melissa_like.h",
                           field->name, given->dtype);
    if (row_of(given->dtype, field->dtype) == NULL)
        return raise_error(
            ML_ERROR_CONTRACT,
            "field '%s': an array of dtype %s was sent, it is declared %s: convert it, or declare another "
            "dtype under solver.fields (a precision is converted on the way, a kind is not)",
            field->name, dtype_names[given->dtype], dtype_names[field->dtype]);
    if (given->num_dimensions != field->num_dimensions || given->shape == NULL) {
        int64_t declared[ML_MAX_DIMENSIONS];
        int shows = given->shape != NULL && given->num_dimensions > 0 && given->num_dimensions <= ML_MAX_DIMENSIONS;
        shape_of(client, field, declared);
        return raise_error(ML_ERROR_CONTRACT,
                           "field '%s': an array of shape %s was sent, the declared shape %s has %d dimensions: send "
                           "arrays with as many",
                           field->name, shows ? shown(given->num_dimensions, given->shape) : "NULL",
                           shown(field->num_dimensions, declared), field->num_dimensions);
    }
    *size = 1;
    for (axis = 0; axis < field->num_dimensions; axis++)
        if (given->shape[axis] == 0)
            *size = 0;
    for (axis = 0; axis < field->num_dimensions && *size != 0; axis++)
        if (given->shape[axis] < 0 || *size < 0)
            *size = -1;
    if (*size > 0) {
        *size = size_of_shape(field->num_dimensions, given->shape);
        if (*size > INT64_MAX / 8)
            *size = -1;
    }
    if (*size > 0 && given->first == NULL)
        return raise_error(ML_ERROR_CONTRACT,
                           "field '%s': the values are NULL and the shape is %s: give an array, or a "
                           "shape with a 0",
                           field->name, shown(field->num_dimensions, given->shape));
    if (*size >= 0)
        set_values(values, given->first, given->dtype, field->dtype, field->num_dimensions, given->shape,
                   given->strides);
    return ML_OK;
}

/* Check a box too. */
static int check_box(struct ml_client *client, const struct given *given, int is_static, int *number,
                     struct values *values, struct box *box, int64_t *size)
{
    const struct field *field;
    int64_t declared[ML_MAX_DIMENSIONS];
    int code = check_array(client, given, is_static, number, values, size), axis, is_inside;
    if (code < 0)
        return code;
    field = field_at(client, *number, is_static);
    shape_of(client, field, declared);
    memset(box, 0, sizeof *box);
    is_inside = *size >= 0;
    for (axis = 0; axis < field->num_dimensions; axis++) {
        box->offset[axis] = given->offset == NULL ? 0 : given->offset[axis];
        box->shape[axis] = given->shape[axis];
        is_inside &= box->offset[axis] >= 0 && box->shape[axis] >= 0 && box->offset[axis] <= declared[axis] &&
                     box->shape[axis] <= declared[axis] - box->offset[axis];
    }
    if (is_inside)
        return ML_OK;
    return raise_error(
        ML_ERROR_CONTRACT,
        "field '%s': rank %d sent a box of shape %s at offset %s, which is not inside the declared shape "
        "%s: correct the offset, or the shape under solver.fields",
        field->name, client->team.rank, shown(field->num_dimensions, box->shape),
        shown(field->num_dimensions, box->offset), shown(field->num_dimensions, declared));
}

/* Check what is sent at the points of a list. */
static int check_points(struct ml_client *client, const struct given *given, int list, int is_static, int *number,
                        struct values *values, int64_t *size)
{
    const struct field *field;
    int64_t expected[ML_MAX_DIMENSIONS];
    int code = check_array(client, given, is_static, number, values, size), last;
    if (code < 0)
        return code;
    field = field_at(client, *number, is_static);
    last = field->num_dimensions - 1;
    if (field->extent < 0)
        return raise_error(
            ML_ERROR_CONTRACT,
            "field '%s' was sent at points, but its declared shape is %s: only a field whose shape names an "
            "extent is on points; send boxes with ml_send",
            field->name, shown(field->num_dimensions, field->shape));
    if (list < 0 || list >= client->session.num_lists)
        return raise_error(ML_ERROR_CONTRACT,
                           "field '%s' was sent at the points of list %d, which is none of this "
                           "simulation: make one with ml_index_list after each ml_next_simulation",
                           field->name, list);
    memcpy(expected, field->shape, sizeof expected);
    expected[last] = client->session.lists[list].num_points;
    if (memcmp(expected, given->shape, (size_t)field->num_dimensions * sizeof *expected) != 0)
        return raise_error(ML_ERROR_CONTRACT,
                           "field '%s': rank %d sent an array of shape %s at the points of list %d, expected %s: all "
                           "components, and as many points as the list has",
                           field->name, client->team.rank, shown(field->num_dimensions, given->shape), list,
                           shown(field->num_dimensions, expected));
    return ML_OK;
}

/* ---- hello ------------------------------------------------------------------------------------------------------ */

static void put_block(struct buffer *out, const void *bytes, size_t size)
{
    put_number(out, size, 8);
    put_bytes(out, bytes, size);
}

/* One block of what another rank has sent; empty if there is none. */
static const uint8_t *take_block(struct reader *in, size_t *size)
{
    uint64_t length = 0;
    const uint8_t *bytes = in->at;
    *size = 0;
    if (in->bad || in->end - in->at < 8) {
        in->bad = 1;
        return NULL;
    }
    memcpy(&length, in->at, 8);
    in->at += 8;
    bytes = in->at;
    pass_bytes(in, length);
    *size = in->bad ? 0 : (size_t)length;
    return in->bad ? NULL : bytes;
}

static int say_hello(struct ml_client *client, struct envelope *welcome)
{
    struct buffer message = {0};
    char host[256] = "";
    int code;
    if (client->has_line)
        close_line(&client->line, 0.0);
    init_line(&client->line, client->context, &client->connection, client->job, client->team.rank);
    client->has_line = 1;
    gethostname(host, sizeof host - 1);
    put_hello(&message, client->team.size, host, (int64_t)getpid());
    if ((code = post(&client->line, &message)) < 0)
        return code;
    return expect(&client->line, "Welcome", "Welcome", welcome);
}

/* What this process has connected: the launcher would take a second hello for a repetition of the first. */
static char claimed[512];

static int claim(const struct ml_client *client)
{
    char name[512];
    snprintf(name, sizeof name, "%s %s", client->connection.study, client->job);
    if (strcmp(name, claimed) == 0)
        return raise_error(ML_ERROR_USAGE,
                           "ml_connect was called a second time in %s: connect once, and ask for one simulation after "
                           "another (ml_next_simulation)",
                           client->job);
    memcpy(claimed, name, sizeof claimed);
    return ML_OK;
}

/* Rank 0 alone: ten thousand ranks need not read one file at the same moment. What it was told goes to `greeting`. */
static int be_welcomed(struct ml_client *client, struct files *files, struct buffer *greeting)
{
    struct envelope welcome;
    const char *job;
    int code, has_claimed = 0;
    if ((code = read_files(files)) < 0 || (code = variable("MELISSA_LIKE_JOB", &job)) < 0)
        return code;
    snprintf(client->job, sizeof client->job, "%.200s", job);
    for (;;) {
        uint32_t incarnation;
        struct trouble why;
        code = parse_connection(files->path, files->connection, files->key, &client->connection);
        if (code < 0 || (!has_claimed && (code = claim(client)) < 0))
            return code;
        has_claimed = 1;
        if ((code = say_hello(client, &welcome)) != ML_ERROR_STOPPED)
            break;
        /* It is gone: perhaps the next one was started while this job said hello. */
        why = last_error;
        incarnation = client->connection.identity.launcher_incarnation;
        if ((code = read_files(files)) < 0)
            return code;
        code = parse_connection(files->path, files->connection, files->key, &client->connection);
        if (code < 0 || client->connection.identity.launcher_incarnation <= incarnation)
            return raise_trouble(&why);
    }
    if (code < 0)
        return code;
    put_block(greeting, files->path, strlen(files->path));
    put_block(greeting, files->connection, strlen(files->connection));
    put_block(greeting, files->key, strlen(files->key));
    put_block(greeting, client->job, strlen(client->job));
    put_block(greeting, welcome.message, welcome.message_size);
    return greeting->failed ? no_memory() : ML_OK;
}

static void take_text_block(struct reader *in, char *text, size_t size)
{
    size_t length;
    const uint8_t *bytes = take_block(in, &length);
    snprintf(text, size, "%.*s", (int)(length < size ? length : size - 1), bytes == NULL ? "" : (const char *)bytes);
}

/* Every rank, by itself: its ways to the launcher and to the server ranks. */
static int open_ways(struct ml_client *client, struct files *files, const struct buffer *greeting)
{
    struct reader in = reader_of(greeting->bytes, greeting->size);
    const uint8_t *welcome;
    size_t size;
    int code;
    take_text_block(&in, files->path, sizeof files->path);
    take_text_block(&in, files->connection, sizeof files->connection);
    take_text_block(&in, files->key, sizeof files->key);
    take_text_block(&in, client->job, sizeof client->job);
    welcome = take_block(&in, &size);
    if (welcome == NULL)
        return raise_error(ML_ERROR_TRANSPORT, "what rank 0 was told did not arrive whole");
    if (!client->has_line) {
        code = parse_connection(files->path, files->connection, files->key, &client->connection);
        if (code < 0)
            return code;
        init_line(&client->line, client->context, &client->connection, client->job, client->team.rank);
        client->has_line = 1;
    }
    if ((code = read_welcome(welcome, size, &client->welcome)) < 0)
        return code;
    be_patient(&client->line, client->welcome.orphan_timeout_s);
    client->ballot_length = NUM_VOTES + num_server_ranks(client) + client->welcome.fields.number +
                            client->welcome.statics.number + 2 * client->welcome.extents.number + 2;
    client->ballot = calloc((size_t)client->ballot_length, sizeof *client->ballot);
    if (client->ballot == NULL)
        return no_memory();
    return open_outlets(&client->outlets, client->context, &client->welcome, &client->connection);
}

/* Rank 0's answer of the launcher, or its trouble, on every rank. */
static int share_answer(struct ml_client *client, int code, struct buffer *answer)
{
    struct buffer shared = {0};
    struct trouble told = last_error;
    if (client->team.rank == 0) {
        put_byte(&shared, code < 0);
        if (code < 0)
            put_bytes(&shared, &told, sizeof told);
        else
            put_bytes(&shared, answer->bytes, answer->size);
        if (shared.failed)
            return no_memory();
    }
    if ((code = team_broadcast(&client->team, 0, &shared)) == ML_OK) {
        answer->size = 0;
        if (shared.size == 1 + sizeof told && shared.bytes[0] == 1) {
            memcpy(&told, shared.bytes + 1, sizeof told);
            told = client->team.rank == 0 ? told : trouble_of_other(&told, 0);
            code = raise_trouble(&told);
        } else {
            put_bytes(answer, shared.bytes + 1, shared.size - 1);
            code = answer->failed ? no_memory() : ML_OK;
        }
    }
    free_buffer(&shared);
    return code;
}

static int greet(struct ml_client *client)
{
    struct files *files = calloc(1, sizeof *files);
    struct buffer greeting = {0};
    struct trouble mine = {0}, told;
    int code = ML_OK, rank;
    if (files == NULL) /* of so little memory the others do not learn; they wait for a rank that ends */
        return no_memory();
    client->context = zmq_ctx_new();
    if (client->team.rank == 0)
        code = client->context == NULL ? zmq_failed("ZeroMQ") : be_welcomed(client, files, &greeting);
    code = share_answer(client, code, &greeting);
    if (code == ML_OK) {
        code = client->context == NULL ? zmq_failed("ZeroMQ") : open_ways(client, files, &greeting);
        if (code < 0)
            mine = last_error;
        code = first_trouble(&client->team, &mine, &told, &rank);
        if (code == ML_OK && told.code < 0) {
            told = mine.code < 0 ? mine : trouble_of_other(&told, rank);
            code = raise_trouble(&told);
        }
    }
    free_buffer(&greeting);
    free(files);
    return code;
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

#define LINGER_S 5.0
#define LINE_LINGER_S 1.0

/* Give everything back. What was sent has `linger_s` to leave. */
static void give_up_client(struct ml_client *client, double linger_s)
{
    struct ml_client **link;
    for (link = &open_clients; *link != NULL; link = &(*link)->next) {
        if (*link == client) {
            *link = client->next;
            break;
        }
    }
    close_outlets(&client->outlets, linger_s);
    if (client->has_line)
        close_line(&client->line, LINE_LINGER_S);
    if (client->context != NULL)
        while (zmq_ctx_term(client->context) != 0 && zmq_errno() == EINTR)
            continue;
    free_outlets(&client->outlets);
    free_session(&client->session, client->welcome.fields.number);
    free_welcome(&client->welcome);
    free(client->ballot);
    free(client);
}

/* The program ends while a simulation is open: say why. Nobody is waited for. */
static void say_why_it_ends(void)
{
    struct ml_client *client;
    for (client = open_clients; client != NULL; client = client->next) {
        struct trouble why;
        if (client->pid != getpid() || !client->session.is_open || client->over.code < 0 || client->has_told)
            continue;
        raise_error(ML_ERROR_FAILED,
                    "%s: the program ended before ml_close: call it on every rank, after the last time "
                    "step",
                    place_of(&client->session));
        why = last_error;
        flush(&client->outlets, FLUSH_S);
        tell(client, client->team.rank, &why);
    }
}

/* End the program if it was asked for, and an error is to be returned; else return the code. */
static int abort_if_asked(struct ml_client *client, int code)
{
    if (code >= 0 || !error_ends_program)
        return code;
    fprintf(stderr, "melissa_like: %s\n", last_error.text);
    if (client != NULL && client->session.is_open && client->over.code == 0 && client->pid == getpid()) {
        struct trouble why = last_error; /* a call out of order: the others know nothing of it */
        add_place(&why, &client->session);
        tell(client, client->team.rank, &why);
    }
#ifdef ML_WITH_MPI
    if (client != NULL && client->team.size > 1)
        MPI_Abort(client->team.comm, ml_exit_code(code));
#endif
    exit(ml_exit_code(code));
}

static int connect_team(ml_client **connected, const struct team *team)
{
    static int has_registered;
    struct ml_client *client = calloc(1, sizeof *client);
    int code;
    if (connected != NULL)
        *connected = NULL;
    if (client == NULL || connected == NULL) {
        free(client);
        code = connected == NULL
                   ? raise_error(ML_ERROR_USAGE, "ml_connect was given NULL: give the address of a pointer")
                   : no_memory();
        return abort_if_asked(NULL, code);
    }
    client->team = *team;
    client->team.while_waiting = tell_alone;
    client->team.context = client;
    client->pid = getpid();
    code = greet(client);
    if (code < 0) {
        struct trouble why = last_error;
        if (error_ends_program)
            return abort_if_asked(client, code);
        give_up_client(client, 0.0);
        return raise_trouble(&why);
    }
    client->next = open_clients;
    open_clients = client;
    if (!has_registered)
        has_registered = atexit(say_why_it_ends) == 0;
    *connected = client;
    return ML_OK;
}

/* Goodbye: a rank that still sends must not meet another one of goodbye's collectives, so that all are told first. */
static int end_simulation(struct ml_client *client)
{
    struct session *session = &client->session;
    struct buffer message = {0};
    int code;
    if (session->in_step) {
        raise_error(ML_ERROR_FAILED, "the simulation ends inside of time step %lld: call ml_step_end, or ml_fail",
                    (long long)session->last_step);
        return fail_together(client);
    }
    if (push(&client->outlets) < 0)
        client->problem = last_error;
    if ((code = vote(client, CLOSING)) < 0)
        return code;
    if (client->team.rank == 0) {
        put_goodbye(&message, session->assignment.simulation, session->assignment.attempt, session->num_steps,
                    client->ballot + NUM_VOTES, num_server_ranks(client));
        if (post(&client->line, &message) < 0)
            client->problem = last_error;
    }
    if ((code = vote(client, CLOSING)) < 0)
        return code;
    free_session(session, client->welcome.fields.number);
    return ML_OK;
}

static int begin_session(struct ml_client *client, const struct buffer *assignment)
{
    struct session *session = &client->session;
    const struct welcome *welcome = &client->welcome;
    size_t ranks = (size_t)num_server_ranks(client), fields = (size_t)welcome->fields.number;
    int i, code;
    code = read_assignment(assignment->bytes, assignment->size, welcome->parameters.number, &session->assignment);
    if (code < 0)
        return code;
    session->extents = calloc((size_t)welcome->extents.number + 1, sizeof *session->extents);
    session->static_elements = calloc((size_t)welcome->statics.number + 1, sizeof *session->static_elements);
    session->is_opened = calloc(ranks, 1);
    session->parts_sent = calloc(ranks, sizeof *session->parts_sent);
    session->elements = calloc(fields, sizeof *session->elements);
    session->boxes = calloc(fields, sizeof *session->boxes);
    session->is_scattered = calloc(fields, 1);
    if (session->extents == NULL || session->static_elements == NULL || session->is_opened == NULL ||
        session->parts_sent == NULL || session->elements == NULL || session->boxes == NULL ||
        session->is_scattered == NULL) {
        free_session(session, (int)fields);
        return no_memory();
    }
    for (i = 0; i < welcome->extents.number; i++)
        session->extents[i] = -1;
    session->points_per_list = points_per_list(welcome);
    session->has_begun = welcome->extents.number == 0 && welcome->statics.number == 0;
    session->last_step = -1;
    session->window_began = session->last_push = -1e9;
    session->mentioned_at = session->heeded_at = now_s();
    session->is_open = 1;
    client->has_told = 0;
    return ML_OK;
}

static int next_simulation(struct ml_client *client)
{
    struct envelope envelope;
    struct buffer answer = {0};
    struct trouble mine = {0}, told;
    int code = require_client(client), is_last = 0, rank;
    if (code < 0 || (client->session.is_open && (code = end_simulation(client)) < 0))
        return code;
    if (client->team.rank == 0) {
        code = post_simple(&client->line, "Request");
        if (code == ML_OK && (code = expect(&client->line, "Assignment", "Finish", &envelope)) == ML_OK)
            put_byte(&answer, type_is(&envelope, "Finish"));
        if (code == ML_OK)
            put_bytes(&answer, envelope.message, envelope.message_size);
        if (code == ML_OK && answer.failed)
            code = no_memory();
    }
    code = share_answer(client, code, &answer);
    if (code == ML_OK) {
        is_last = answer.size > 0 && answer.bytes[0] == 1;
        if (!is_last) {
            struct buffer message = answer;
            message.bytes++;
            message.size--;
            if (begin_session(client, &message) < 0)
                mine = last_error;
        }
        code = first_trouble(&client->team, &mine, &told, &rank);
        if (code == ML_OK && told.code < 0) {
            told = mine.code < 0 ? mine : trouble_of_other(&told, rank);
            code = raise_trouble(&told);
        }
    }
    free_buffer(&answer);
    if (code < 0)
        client->over = last_error;
    return code < 0 ? code : is_last ? ML_FINISHED : ML_OK;
}

/* ---- the public functions --------------------------------------------------------------------------------------- */

int ml_connect(ml_client **client)
{
    struct team team;
    memset(&team, 0, sizeof team);
    team.size = 1;
    return connect_team(client, &team);
}

#ifdef ML_WITH_MPI
int ml_connect_mpi(ml_client **client, MPI_Comm comm)
{
    struct team team;
    int code;
    memset(&team, 0, sizeof team);
    if ((code = MPI_Comm_dup(comm, &team.comm)) != MPI_SUCCESS ||
        (code = MPI_Comm_rank(team.comm, &team.rank)) != MPI_SUCCESS ||
        (code = MPI_Comm_size(team.comm, &team.size)) != MPI_SUCCESS)
        return abort_if_asked(NULL, mpi_failed(code));
    return connect_team(client, &team);
}

int ml_connect_mpi_f(ml_client **client, MPI_Fint comm)
{
    return ml_connect_mpi(client, MPI_Comm_f2c(comm));
}
#else
/* Not declared, but the Fortran module refers to it. */
int ml_connect_mpi_f(ml_client **client, int comm);

int ml_connect_mpi_f(ml_client **client, int comm)
{
    (void)comm;
    *client = NULL;
    return abort_if_asked(NULL, raise_error(ML_ERROR_USAGE, "a communicator was given, but melissa_like.c was compiled "
                                            "without MPI: compile it with mpicc -DML_WITH_MPI, or leave it out"));
}
#endif

int ml_close(ml_client *client)
{
    int code = ML_OK, was_over;
    if (client == NULL)
        return ML_OK;
    if (client->pid != getpid())
        return abort_if_asked(NULL, require_client(client));
    was_over = client->over.code < 0;
    if (!was_over && client->session.is_open)
        code = end_simulation(client);
    while (!was_over && code == ML_OK && (code = flush(&client->outlets, client->welcome.heartbeat_s)) == 0)
        code = ask_whether_alive(client, -1);
    if (code >= 0 && !was_over)
        code = settle(&client->line, SETTLE_S);
    code = code < 0 ? abort_if_asked(client, code) : ML_OK;
#ifdef ML_WITH_MPI
    if (!was_over && code == ML_OK && client->team.size > 1)
        MPI_Comm_free(&client->team.comm);
#endif
    give_up_client(client,
                   client->over.code == ML_ERROR_STOPPED || client->over.code == ML_ERROR_REFUSED ? 0.0 : LINGER_S);
    return code;
}

int ml_next_simulation(ml_client *client)
{
    return abort_if_asked(client, next_simulation(client));
}

int ml_end_simulation(ml_client *client)
{
    int code = require_client(client);
    if (code == ML_OK && client->session.is_open)
        code = end_simulation(client);
    return abort_if_asked(client, code);
}

int ml_fail(ml_client *client, const char *message)
{
    int code = require_session(client);
    if (code == ML_OK) {
        raise_error(ML_ERROR_FAILED, "%s", message == NULL ? "the solver failed" : message);
        code = fail_together(client);
    }
    return abort_if_asked(client, code);
}

int64_t ml_simulation(const ml_client *client)
{
    return client != NULL && client->session.is_open ? client->session.assignment.simulation : -1;
}

int ml_purpose(const ml_client *client)
{
    return client != NULL && client->session.is_open ? client->session.assignment.purpose : -1;
}

int ml_parameter(ml_client *client, const char *name, double *value)
{
    int code = require_session(client), number;
    if (code == ML_OK && (name == NULL || value == NULL))
        code = raise_error(ML_ERROR_USAGE, "ml_parameter was given NULL: give a name, and the address of a double");
    if (code == ML_OK) {
        number = find_name(&client->welcome.parameters, name);
        if (number < 0) {
            char names[4096] = "";
            int i;
            for (i = 0; i < client->welcome.parameters.number; i++)
                append(names, sizeof names, "%s'%s'", i ? ", " : "", client->welcome.parameters.items[i]);
            code = raise_error(ML_ERROR_USAGE, "there is no parameter '%s': solver.parameters has %s", name,
                               names[0] ? names : "none");
        } else {
            *value = client->session.assignment.parameters[number];
        }
    }
    return abort_if_asked(client, code);
}

int ml_num_parameters(const ml_client *client)
{
    return client == NULL ? 0 : client->welcome.parameters.number;
}

const char *ml_parameter_name(const ml_client *client, int number)
{
    return number < 0 || number >= ml_num_parameters(client) ? NULL : client->welcome.parameters.items[number];
}

double ml_parameter_value(const ml_client *client, int number)
{
    if (number < 0 || number >= ml_num_parameters(client) || !client->session.is_open)
        return NAN;
    return client->session.assignment.parameters[number];
}

int64_t ml_num_steps(const ml_client *client)
{
    return client == NULL ? -1 : client->welcome.num_steps;
}

int ml_is_delivered(const ml_client *client, int64_t step)
{
    return client != NULL && client->session.is_open && step >= 0 &&
           is_delivered(&client->session.assignment, (uint64_t)step);
}

int ml_num_fields(const ml_client *client)
{
    return client == NULL ? 0 : client->welcome.fields.number;
}

const char *ml_field_name(const ml_client *client, int number)
{
    return number < 0 || number >= ml_num_fields(client) ? NULL : client->welcome.fields.items[number].name;
}

int ml_field_shape(ml_client *client, const char *name, int64_t *shape)
{
    int code = require_client(client), number;
    if (code == ML_OK && shape == NULL)
        code = raise_error(ML_ERROR_USAGE, "ml_field_shape was given NULL: give room for ML_MAX_DIMENSIONS numbers");
    if (code == ML_OK && (number = find_field(&client->welcome.fields, name)) < 0) {
        raise_undeclared(client, name, 0);
        code = raise_error(ML_ERROR_USAGE, "%s", last_error.text);
    } else if (code == ML_OK) {
        int64_t declared[ML_MAX_DIMENSIONS];
        const struct field *field = field_at(client, number, 0);
        shape_of(client, field, declared);
        memcpy(shape, declared, (size_t)field->num_dimensions * sizeof *shape);
        return field->num_dimensions;
    }
    return abort_if_asked(client, code);
}

static int raise_late(const char *what)
{
    return raise_error(ML_ERROR_USAGE,
                       "%s was called after the first ml_step_begin of the simulation: what does not change "
                       "is told before",
                       what);
}

int ml_set_extent(ml_client *client, const char *name, int64_t size)
{
    int code = require_session(client), number;
    if (code == ML_OK && client->session.num_steps + client->session.in_step > 0)
        code = raise_late("ml_set_extent");
    if (code < 0)
        return abort_if_asked(client, code);
    number = name == NULL ? -1 : find_name(&client->welcome.extents, name);
    if (number < 0) {
        char names[4096] = "";
        int i;
        for (i = 0; i < client->welcome.extents.number; i++)
            append(names, sizeof names, "%s'%s'", i ? ", " : "", client->welcome.extents.items[i]);
        raise_error(ML_ERROR_CONTRACT,
                    "the extent '%s' is not declared: the shapes under solver.fields and solver.static "
                    "name %s",
                    name == NULL ? "" : name, names[0] ? names : "none");
        code = fail_together(client);
    } else if (size < 1 || size > INT64_C(1) << 53) {
        raise_error(ML_ERROR_CONTRACT, "the extent '%s' is %lld: give a number of points, 1 or more", name,
                    (long long)size);
        code = fail_together(client);
    } else if (client->session.extents[number] >= 0 && client->session.extents[number] != size) {
        raise_error(ML_ERROR_CONTRACT, "the extent '%s' is %lld and was %lld: a simulation has one size", name,
                    (long long)size, (long long)client->session.extents[number]);
        code = fail_together(client);
    } else {
        client->session.extents[number] = size;
    }
    return abort_if_asked(client, code);
}

int ml_index_list(ml_client *client, const int64_t *numbers, int64_t num_points, int *number)
{
    struct session *session;
    struct list list, *grown;
    int code = require_session(client);
    int64_t num_pieces, i;
    if (code == ML_OK && (number == NULL || num_points < 0 || (numbers == NULL && num_points > 0)))
        code = raise_error(ML_ERROR_USAGE,
                           "ml_index_list was given %lld points at %s: give their numbers, and the address "
                           "of an int",
                           (long long)num_points, numbers == NULL ? "NULL" : "an array");
    if (code < 0)
        return abort_if_asked(client, code);
    session = &client->session;
    for (i = 0; i < num_points; i++) {
        if (numbers[i] < 0) {
            raise_error(ML_ERROR_CONTRACT, "an index list has the point %lld at %lld: points are numbered from 0",
                        (long long)numbers[i], (long long)i);
            return abort_if_asked(client, fail_together(client));
        }
    }
    num_pieces = (num_points + session->points_per_list - 1) / session->points_per_list;
    if (session->num_wire_lists + num_pieces > 0xffff) {
        raise_error(ML_ERROR_CONTRACT,
                    "a simulation has too many index lists of at most %lld points: make one per partition, not one per "
                    "step",
                    (long long)session->points_per_list);
        return abort_if_asked(client, fail_together(client));
    }
    list.numbers = malloc((size_t)num_points * sizeof *numbers + 1);
    list.is_sent = calloc((size_t)num_server_ranks(client), 1);
    grown = realloc(session->lists, ((size_t)session->num_lists + 1) * sizeof *grown);
    if (grown != NULL)
        session->lists = grown;
    if (grown == NULL || list.numbers == NULL || list.is_sent == NULL) {
        free(list.numbers);
        free(list.is_sent);
        no_memory();
        return abort_if_asked(client, fail_together(client));
    }
    if (num_points > 0)
        memcpy(list.numbers, numbers, (size_t)num_points * sizeof *numbers);
    list.num_points = num_points;
    list.first_number = session->num_wire_lists;
    session->num_wire_lists += num_pieces;
    *number = session->num_lists;
    session->lists[session->num_lists++] = list;
    return ML_OK;
}

/* Keep what is sent once. `list` below 0: a box. */
static int keep_once(struct ml_client *client, const struct given *given, int list)
{
    struct session *session = &client->session;
    struct once *once;
    struct values values;
    struct box box;
    int64_t size;
    int number, code = require_session(client);
    if (code == ML_OK && session->num_steps + session->in_step > 0)
        code = raise_late("ml_send_static");
    if (code < 0)
        return code;
    memset(&box, 0, sizeof box);
    number = find_field(&client->welcome.statics, given->name);
    if (number >= 0 && field_at(client, number, 1)->extent >= 0 &&
        session->extents[field_at(client, number, 1)->extent] < 0)
        return raise_error(ML_ERROR_USAGE,
                           "the size of field '%s' is not known yet: call ml_set_extent with '%s' first", given->name,
                           client->welcome.extents.items[field_at(client, number, 1)->extent]);
    code = list < 0 ? check_box(client, given, 1, &number, &values, &box, &size)
                    : check_points(client, given, list, 1, &number, &values, &size);
    if (code < 0)
        return fail_together(client);
    if (size == 0)
        return ML_OK;
    once = calloc(1, sizeof *once);
    if (once != NULL)
        once->values = malloc((size_t)size * dtype_sizes[values.to]);
    if (once == NULL || once->values == NULL) {
        free(once);
        no_memory();
        return fail_together(client);
    }
    memcpy(box.shape, values.shape, sizeof box.shape);
    once->field = number;
    once->list = list;
    once->box = box;
    if (convert(&values, once->values)) {
        raise_lost(client, field_at(client, number, 1), &values, box.offset);
        free(once->values);
        free(once);
        return fail_together(client);
    }
    if (session->last_once == NULL)
        session->first_once = once;
    else
        session->last_once->next = once;
    session->last_once = once;
    session->static_elements[number] += size;
    return ML_OK;
}

int ml_send_static(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
                   const int64_t *offset, const int64_t *shape, const int64_t *strides)
{
    struct given given = {field, dtype, num_dimensions, values, offset, shape, strides};
    return abort_if_asked(client, keep_once(client, &given, -1));
}

int ml_send_static_scattered(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
                             const int64_t *shape, const int64_t *strides, int list)
{
    struct given given = {field, dtype, num_dimensions, values, NULL, shape, strides};
    return abort_if_asked(client, keep_once(client, &given, list < 0 ? INT_MAX : list));
}

int ml_step_begin(ml_client *client, int64_t step, double time)
{
    struct session *session;
    int code = require_session(client), i;
    if (code == ML_OK && client->session.in_step)
        code = raise_error(ML_ERROR_USAGE, "time step %lld begins before step %lld has ended: call ml_step_end",
                           (long long)step, (long long)client->session.last_step);
    if (code < 0)
        return abort_if_asked(client, code);
    session = &client->session;
    if (!session->has_begun && (code = begin(client)) < 0)
        return abort_if_asked(client, code);
    if (step <= session->last_step) {
        char place[64];
        snprintf(place, sizeof place, session->last_step >= 0 ? "after time step %lld" : "as the first one",
                 (long long)session->last_step);
        raise_error(ML_ERROR_CONTRACT, "time step %lld %s: number the steps with growing integers, from 0 to 2**63 - 1",
                    (long long)step, place);
        return abort_if_asked(client, fail_together(client));
    }
    if (isinf(time)) {
        raise_error(ML_ERROR_CONTRACT,
                    "the physical time %g was sent: give a finite number of any unit, or NaN if the "
                    "solver knows none",
                    time);
        return abort_if_asked(client, fail_together(client));
    }
    session->in_step = 1;
    session->last_step = step;
    session->time = time;
    session->skips_step = is_delivered(&session->assignment, (uint64_t)step);
    session->destination =
        (int)(((uint64_t)session->assignment.simulation + (client->welcome.routes_by_trajectory ? 0 : (uint64_t)step)) %
              (uint64_t)num_server_ranks(client));
    for (i = 0; i < client->welcome.fields.number; i++) {
        session->elements[i] = 0;
        session->boxes[i].number = 0;
        session->is_scattered[i] = 0;
    }
    /* Also if this rank has no part of the step: the step counts as complete when what is sent once is there. */
    if (!session->skips_step && session->first_once != NULL && open_destination(client, session->destination) < 0)
        code = fail_together(client);
    return abort_if_asked(client, code);
}

/* Send a part of the step that has begun. `list` below 0: a box. */
static int send_part(struct ml_client *client, const struct given *given, int list)
{
    struct session *session = &client->session;
    struct values values;
    struct box box;
    int64_t size;
    int number, code = require_session(client);
    if (code < 0)
        return code;
    if (!session->in_step)
        return raise_error(ML_ERROR_USAGE, "field '%s' was sent outside of a time step: call ml_step_begin first",
                           given->name == NULL ? "" : given->name);
    code = list < 0 ? check_box(client, given, 0, &number, &values, &box, &size)
                    : check_points(client, given, list, 0, &number, &values, &size);
    if (code == ML_OK && (size == 0 || session->skips_step))
        return ML_OK;
    if (code == ML_OK)
        code = open_destination(client, session->destination);
    if (code == ML_OK && list < 0)
        code = send_box(client, session->destination, PART, number, &values, box.offset);
    else if (code == ML_OK)
        code = send_points(client, session->destination, SCATTER, number, &values, list);
    if (code == ML_OK && list < 0)
        code = add_box(&session->boxes[number], &box);
    if (code < 0)
        return fail_together(client);
    session->is_scattered[number] |= list >= 0;
    session->elements[number] += size;
    return ML_OK;
}

int ml_send(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
            const int64_t *offset, const int64_t *shape, const int64_t *strides)
{
    struct given given = {field, dtype, num_dimensions, values, offset, shape, strides};
    return abort_if_asked(client, send_part(client, &given, -1));
}

int ml_send_scattered(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
                      const int64_t *shape, const int64_t *strides, int list)
{
    struct given given = {field, dtype, num_dimensions, values, NULL, shape, strides};
    return abort_if_asked(client, send_part(client, &given, list < 0 ? INT_MAX : list));
}

int ml_step_end(ml_client *client)
{
    struct session *session;
    int code = require_session(client), i;
    if (code == ML_OK && !client->session.in_step)
        code = raise_error(ML_ERROR_USAGE, "ml_step_end without ml_step_begin");
    if (code < 0)
        return abort_if_asked(client, code);
    session = &client->session;
    if (finish_step(client) < 0)
        client->problem = last_error;
    code = vote(client, STEPPING);
    for (i = 0; i < client->welcome.fields.number && code == ML_OK && !session->skips_step; i++) {
        const struct field *field = field_at(client, i, 0);
        if (elements_in(client)[i] != field_size(client, field)) {
            code = name_gap(client, field, session->is_scattered[i] ? NULL : &session->boxes[i], elements_in(client)[i],
                            "fields");
            client->problem = last_error;
            code = end_together(client);
        }
    }
    session->in_step = 0;
    session->num_steps++;
    return abort_if_asked(client, code);
}
