/* The inside of the C client, asked line by line: what it encodes, decodes, converts and cuts. Bytes are in hex. */
#include "melissa_like.c"

static char *words[65536];
static int num_words;

static int64_t number_at(int i)
{
    return i < num_words ? strtoll(words[i], NULL, 10) : 0;
}

static void bytes_at(int i, struct buffer *bytes)
{
    const char *digits = i < num_words ? words[i] : "";
    memset(bytes, 0, sizeof *bytes);
    for (; digits[0] && digits[1]; digits += 2) {
        char byte[3] = {digits[0], digits[1], '\0'};
        put_byte(bytes, (unsigned)strtoul(byte, NULL, 16));
    }
}

static void print_bytes(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    size_t i;
    for (i = 0; i < size; i++)
        printf("%02x", at[i]);
}

/* STUDY SECRET LAUNCHER_INCARNATION */
static struct identity identity_at(int i)
{
    struct identity identity;
    bytes_of_id(words[i], identity.study);
    bytes_of_id(words[i + 1], identity.secret);
    identity.launcher_incarnation = (uint32_t)number_at(i + 2);
    return identity;
}

static void say_header(void)
{
    struct identity identity = identity_at(1);
    struct sender sender = {&identity, 0, 0, 0, 0, 0, 0, 0};
    struct part part;
    uint8_t header[LARGEST_HEADER_BYTES];
    int i;
    memset(&part, 0, sizeof part);
    sender.server_incarnation = (uint32_t)number_at(4);
    sender.simulation = number_at(5);
    sender.attempt = number_at(6);
    sender.rank = (int)number_at(7);
    sender.num_ranks = (int)number_at(8);
    sender.layout_id = (uint32_t)number_at(9);
    sender.purpose = (int)number_at(10);
    part.kind = (enum kind)number_at(11);
    part.field = (int)number_at(12);
    part.dtype = (int)number_at(13);
    part.step = (uint64_t)number_at(14);
    part.time = strtod(words[15], NULL);
    part.num_dimensions = (num_words - 16) / 2;
    for (i = 0; i < part.num_dimensions; i++) {
        part.box.offset[i] = number_at(16 + i);
        part.box.shape[i] = number_at(16 + part.num_dimensions + i);
    }
    print_bytes(header, encode_header(&sender, &part, header));
}

/* `control STUDY SECRET INCARNATION NUMBER ACKNOWLEDGED TYPE ...` */
static void say_control(void)
{
    struct identity identity = identity_at(1);
    struct buffer message = {0}, out = {0}, text;
    int64_t parts[16];
    const char *type = words[6];
    int i;
    if (!strcmp(type, "Hello")) {
        put_hello(&message, (int)number_at(7), words[8], number_at(9));
    } else if (!strcmp(type, "Goodbye")) {
        for (i = 0; i < num_words - 10; i++)
            parts[i] = number_at(10 + i);
        put_goodbye(&message, number_at(7), number_at(8), number_at(9), parts, num_words - 10);
    } else if (!strcmp(type, "Failure")) {
        bytes_at(10, &text);
        put_byte(&text, 0);
        put_failure(&message, number_at(7), number_at(8), (const char *)text.bytes, (int)number_at(9));
        free_buffer(&text);
    } else if (!strcmp(type, "Blocked")) {
        put_blocked(&message, (int)number_at(7));
    } else if (!strcmp(type, "Recomputes")) {
        put_attempt(&message, type, 0, number_at(7), number_at(8));
    } else {
        begin_message(&message, type, 0);
    }
    put_envelope(&out, &identity, (uint64_t)number_at(4), (uint64_t)number_at(5), message.bytes, message.size);
    print_bytes(out.bytes, out.size);
    free_buffer(&message);
    free_buffer(&out);
}

static void print_names(const char *what, const struct names *names)
{
    int i;
    printf(" %s", what);
    for (i = 0; i < names->number; i++)
        printf(":%s", names->items[i]);
}

static void print_fields(const char *what, const struct fields *fields)
{
    int i, axis;
    printf(" %s", what);
    for (i = 0; i < fields->number; i++) {
        const struct field *field = &fields->items[i];
        printf(":%s,%s,%d,%d", field->name, dtype_names[field->dtype], field->components, field->extent);
        for (axis = 0; axis < field->num_dimensions; axis++)
            printf(",%lld", (long long)field->shape[axis]);
    }
}

/* What is read of bytes from the launcher; `is_silent`: only that reading them does no harm. */
static void read_bytes(const struct buffer *bytes, const struct identity *identity, int is_silent)
{
    struct envelope envelope;
    struct welcome welcome;
    struct assignment assignment;
    char reason[MOST_TEXT];
    size_t i;
    if (read_envelope(bytes->bytes, bytes->size, identity, &envelope) < 0) {
        if (!is_silent)
            printf("error %d %s", last_error.code, last_error.text);
        return;
    }
    if (!is_silent)
        printf("%llu %llu %.*s", (unsigned long long)envelope.number, (unsigned long long)envelope.acknowledged,
               (int)envelope.type_length, (const char *)envelope.type);
    read_text(envelope.message, envelope.message_size, "reason", reason, sizeof reason);
    if (read_welcome(envelope.message, envelope.message_size, &welcome) == ML_OK) {
        if (!is_silent) {
            printf(" server_incarnation %u layout_id %u routing %d num_steps %lld budget_bytes %llu heartbeat_s %g "
                   "orphan_timeout_s %g",
                   (unsigned)welcome.server_incarnation, (unsigned)welcome.layout_id, welcome.routes_by_trajectory,
                   (long long)welcome.num_steps, (unsigned long long)welcome.budget_bytes, welcome.heartbeat_s,
                   welcome.orphan_timeout_s);
            print_names("endpoints", &welcome.endpoints);
            print_names("parameters", &welcome.parameters);
            print_names("extents", &welcome.extents);
            print_fields("fields", &welcome.fields);
            print_fields("static", &welcome.statics);
        }
        free_welcome(&welcome);
    } else if (read_assignment(envelope.message, envelope.message_size, 2, &assignment) == ML_OK) {
        if (!is_silent) {
            printf(" simulation %lld attempt %lld purpose %d parameters", (long long)assignment.simulation,
                   (long long)assignment.attempt, assignment.purpose);
            for (i = 0; i < (size_t)assignment.num_parameters; i++)
                printf(":%g", assignment.parameters[i]);
            printf(" delivered");
            for (i = 0; i < assignment.num_delivered; i++)
                printf(":%llu,%llu", (unsigned long long)assignment.delivered[i].first,
                       (unsigned long long)assignment.delivered[i].behind_last);
        }
        free_assignment(&assignment);
    } else if (!is_silent) {
        printf(" %s", reason);
    }
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* `fuzz STUDY SECRET INCARNATION BYTES SEED TIMES`: changes, cuts and adds bytes, keeps the identity or not. */
static void fuzz(void)
{
    struct identity identity = identity_at(1);
    struct buffer original, changed = {0};
    uint64_t state = (uint64_t)number_at(5);
    int64_t times;
    bytes_at(4, &original);
    for (times = number_at(6); times > 0; times--) {
        uint32_t changes = 1 + draw(&state) % 8;
        uint8_t *copy;
        struct buffer exact = {0};
        changed.size = 0;
        put_bytes(&changed, original.bytes, original.size);
        while (changes-- > 0 && changed.size > 0) {
            static const uint8_t strange[] = {0xc1, 0xc6, 0xdb, 0xdd, 0xdf, 0xff, 0x00, 0x9f, 0x8f, 0xcf, 0xd3, 0xc9};
            size_t at = draw(&state) % changed.size;
            switch (draw(&state) % 4) {
            case 0: changed.bytes[at] = (uint8_t)draw(&state); break;
            case 1: changed.bytes[at] = strange[draw(&state) % sizeof strange]; break;
            case 2: changed.size = at; break;
            default: put_byte(&changed, draw(&state) & 0xff); break;
            }
        }
        copy = malloc(changed.size + 1); /* of this size, so that what is read behind its end is noticed */
        exact.bytes = copy;
        exact.size = changed.size;
        memcpy(copy, changed.bytes, changed.size);
        exact.bytes = realloc(copy, changed.size ? changed.size : 1);
        read_bytes(&exact, &identity, 1);
        free(exact.bytes);
    }
    free_buffer(&original);
    free_buffer(&changed);
    printf("survived");
}

/* `connection PATH` */
static void say_connection(void)
{
    struct files *files = calloc(1, sizeof *files);
    struct connection connection;
    char key[4096];
    snprintf(files->path, sizeof files->path, "%s/connection.txt", words[1]);
    snprintf(key, sizeof key, "%s/job.key", words[1]);
    read_file(files->path, files->connection, sizeof files->connection);
    read_file(key, files->key, sizeof files->key);
    if (parse_connection(files->path, files->connection, files->key, &connection) < 0)
        printf("error %d %s", last_error.code, last_error.text);
    else
        printf("%s %s %s %u %d %d %s %s %s %s", connection.endpoint, connection.study, connection.secret,
               (unsigned)connection.identity.launcher_incarnation, connection.encrypts_control,
               connection.encrypts_data, connection.launcher_key, connection.server_key, connection.own_public, connection.own_secret);
    free(files);
}

/* `bundle CAPACITY HEADER NBYTES HEADER NBYTES ...`: the frames of what is sent; byte i of a payload is i mod 251. */
static void say_bundle(void)
{
    void *context = zmq_ctx_new(), *receiver = zmq_socket(context, ZMQ_PULL);
    struct message_queue queue = {NULL, NULL};
    struct outlet outlet;
    struct outlets outlets;
    int i, more = 1, first = 1;
    memset(&outlet, 0, sizeof outlet);
    memset(&outlets, 0, sizeof outlets);
    outlets.items = &outlet;
    outlets.number = outlets.in_flight.num_outlets = 1;
    outlets.in_flight.sent = &queue;
    outlets.in_flight.budget_bytes = 1 << 24;
    outlet.plain_bundle_bytes = (size_t)number_at(1);
#if HAS_SHARED_MEMORY
    outlet.ring.use = GIVEN_UP;
    outlet.ring.descriptor = -1;
#endif
    zmq_bind(receiver, "inproc://here");
    outlet.socket = zmq_socket(context, ZMQ_PUSH);
    zmq_connect(outlet.socket, "inproc://here");
    for (i = 2; i + 1 < num_words; i += 2) {
        struct buffer header;
        uint8_t *place;
        size_t nbytes = (size_t)number_at(i + 1), j;
        bytes_at(i, &header);
        if (place_part(&outlets, &outlet, header.size, nbytes, &place, 1.0) == 1) {
            for (j = 0; j < nbytes; j++)
                place[j] = (uint8_t)(j % 251);
            keep_part(&outlets, &outlet, header.bytes, header.size, nbytes);
        }
        free_buffer(&header);
    }
    push(&outlets);
    zmq_close(outlet.socket);
    while (more || zmq_getsockopt(receiver, ZMQ_EVENTS, &i, &(size_t){sizeof i}) == 0) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, receiver, ZMQ_DONTWAIT) < 0)
            break;
        more = zmq_msg_more(&frame);
        printf(first ? "" : " ");
        first = 0;
        if (zmq_msg_size(&frame) == 0)
            printf("-");
        print_bytes(zmq_msg_data(&frame), zmq_msg_size(&frame));
        zmq_msg_close(&frame);
        printf(more ? "" : " |");
    }
    zmq_close(receiver);
    zmq_ctx_term(context);
    reclaim(&outlets.in_flight);
    empty_pool(&outlets.in_flight);
    free(outlet.opened);
    free_buffer(&outlet.index);
}

/* `convert FROM TO FIRST BYTES N SHAPE... STRIDES...`: FIRST is where the first element lies in the bytes. */
static void say_converted(void)
{
    struct buffer bytes;
    struct values values;
    int from = (int)number_at(1), to = (int)number_at(2), n = (int)number_at(5), i;
    int64_t shape[ML_MAX_DIMENSIONS], strides[ML_MAX_DIMENSIONS];
    size_t size;
    void *out;
    if (row_of(from, to) == NULL) {
        printf("refused");
        return;
    }
    bytes_at(4, &bytes);
    for (i = 0; i < n; i++) {
        shape[i] = number_at(6 + i);
        strides[i] = number_at(6 + n + i);
    }
    set_values(&values, bytes.bytes + number_at(3), from, to, n, shape, strides);
    size = (size_t)size_of_shape(n, shape) * dtype_sizes[to];
    out = malloc(size);
    if (convert(&values, out)) {
        struct lost lost;
        find_lost(&values, &lost);
        printf("lost %s at %s, %lld", lost.value, shown(n, lost.index), (long long)lost.number);
    } else {
        print_bytes(out, size);
    }
    free(out);
    free_buffer(&bytes);
}

static int print_piece(void *context, const struct box *piece)
{
    int n = *(int *)context, i;
    for (i = 0; i < n; i++)
        printf("%lld,%lld%s", (long long)piece->offset[i], (long long)piece->shape[i], i + 1 < n ? ":" : " ");
    return ML_OK;
}

/* `cut LARGEST SHAPE...` */
static void say_pieces(void)
{
    struct box piece;
    int64_t shape[ML_MAX_DIMENSIONS];
    int n = num_words - 2, i;
    for (i = 0; i < n; i++)
        shape[i] = number_at(2 + i);
    memset(&piece, 0, sizeof piece);
    cut(n, shape, 0, number_at(1), &piece, print_piece, &n);
}

/* `missing N SHAPE... (OFFSET... SHAPE...)...`, and `twice` of the same. */
static void say_fault(int is_twice)
{
    struct field field;
    struct boxes boxes = {0};
    char text[MOST_TEXT] = "";
    int64_t shape[ML_MAX_DIMENSIONS];
    int n = (int)number_at(1), i, at;
    memset(&field, 0, sizeof field);
    field.num_dimensions = n;
    for (i = 0; i < n; i++)
        shape[i] = number_at(2 + i);
    for (at = 2 + n; at < num_words; at += 2 * n) {
        struct box box;
        memset(&box, 0, sizeof box);
        for (i = 0; i < n; i++) {
            box.offset[i] = number_at(at + i);
            box.shape[i] = number_at(at + n + i);
        }
        add_box(&boxes, &box);
    }
    if (is_twice)
        append_twice(text, sizeof text, n, &boxes);
    else
        append_missing(text, sizeof text, &field, shape, &boxes);
    printf("%s", text);
    free_boxes(&boxes);
}

int main(void)
{
    static char line[1 << 22];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *word = strtok(line, " \n");
        struct buffer bytes;
        for (num_words = 0; word != NULL && num_words < 65536; word = strtok(NULL, " \n"))
            words[num_words++] = word;
        if (num_words == 0)
            continue;
        if (!strcmp(words[0], "header"))
            say_header();
        else if (!strcmp(words[0], "control"))
            say_control();
        else if (!strcmp(words[0], "fuzz"))
            fuzz();
        else if (!strcmp(words[0], "connection"))
            say_connection();
        else if (!strcmp(words[0], "bundle"))
            say_bundle();
        else if (!strcmp(words[0], "convert"))
            say_converted();
        else if (!strcmp(words[0], "cut"))
            say_pieces();
        else if (!strcmp(words[0], "missing") || !strcmp(words[0], "twice"))
            say_fault(words[0][0] == 't');
        else if (!strcmp(words[0], "read")) {
            struct identity identity = identity_at(1);
            bytes_at(4, &bytes);
            read_bytes(&bytes, &identity, 0);
            free_buffer(&bytes);
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
