/*
 * Reading and writing BPF devices: batches of records, each a header and a frame.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#define HEADER 18            /* the meaningful bytes of struct bpf_hdr */
#define HEADER_SIZE 20       /* and its size in C, which the batch parser of XNU wants to see */
#define LARGEST_FRAME 65553  /* of a Linux interface, with a VLAN tag */
#define OLD_WRITE_LIMIT 2048 /* MCLBYTES, before Darwin 23 */
#define WRITE_LEEWAY 18
#define VLAN_TAG 4

struct record_header {
    int32_t seconds, microseconds;
    uint32_t captured, length;
    uint16_t header_length;
};

/* ---- reading ---- */

struct arrival {
    size_t room;     /* bytes that were asked for */
    size_t captured; /* bytes that passed the filter, without the tag */
    size_t length;   /* bytes on the wire, without the tag */
    bool tagged;
    uint8_t tag[VLAN_TAG];
};

/* The next frame of the queue.  False: there is none. */
static bool receive(int descriptor, uint8_t *buffer, struct arrival *arrival)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    } control;
    struct iovec vector = {buffer, arrival->room};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t length = recvmsg(descriptor, &message, MSG_TRUNC | MSG_DONTWAIT);

    if (length < 0)
        return false;
    arrival->captured = arrival->length = (size_t)length;
    arrival->tagged = false;
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    if (item == NULL || item->cmsg_level != SOL_PACKET || item->cmsg_type != PACKET_AUXDATA)
        return true;
    struct tpacket_auxdata data;
    memcpy(&data, CMSG_DATA(item), sizeof data);
    arrival->length = data.tp_len;
    /* Linux takes the outer VLAN tag out of the frame: it goes back behind the addresses. */
    if (data.tp_status & TP_STATUS_VLAN_VALID) {
        uint16_t tag[2] = {
            htons(data.tp_status & TP_STATUS_VLAN_TPID_VALID ? data.tp_vlan_tpid : ETH_P_8021Q),
            htons(data.tp_vlan_tci)};
        arrival->tagged = true;
        memcpy(arrival->tag, tag, sizeof tag);
    }
    return true;
}

static void insert_tag(uint8_t *frame, struct arrival *arrival)
{
    size_t room = arrival->room, addresses = 2 * ETH_ALEN;

    arrival->length += VLAN_TAG;
    arrival->captured += VLAN_TAG;
    if (room < addresses + VLAN_TAG)
        return;
    size_t rest = arrival->captured - addresses - VLAN_TAG;
    if (rest > room - addresses - VLAN_TAG)
        rest = room - addresses - VLAN_TAG;
    memmove(frame + addresses + VLAN_TAG, frame + addresses, rest);
    memcpy(frame + addresses, arrival->tag, VLAN_TAG);
}

/* As a deviation: what Linux does to its own readers. */
static void strip_tag(uint8_t *frame, struct arrival *arrival)
{
    size_t addresses = 2 * ETH_ALEN;

    if (arrival->captured < addresses + VLAN_TAG || frame[12] != ETH_P_8021Q >> 8 ||
        frame[13] != (ETH_P_8021Q & 0xff))
        return;
    arrival->captured -= VLAN_TAG;
    arrival->length -= VLAN_TAG;
    memmove(frame + addresses, frame + addresses + VLAN_TAG, arrival->captured - addresses);
}

struct batch {
    uint8_t *buffer;
    size_t length, used, alignment, header;
    unsigned int frames;
};

static size_t aligned(size_t position, size_t alignment)
{
    return (position + alignment - 1) / alignment * alignment;
}

/*
 * Does the next frame fit behind `start`?  Only the first of a batch may be cut.  Not asked with
 * MSG_PEEK, after which Linux tells a wrong length of the frame (af_packet.c: the address is stored
 * over it).
 */
static bool next_fits(int descriptor, const struct batch *batch, size_t start)
{
    size_t room = batch->length - start - batch->header;
    int next = 0;

    if (batch->frames == 0 || room >= LARGEST_FRAME)
        return true;
    if (linux_ioctl(descriptor, FIONREAD, &next) != 0)
        return false;
    return (size_t)next + VLAN_TAG <= room;
}

static bool add_record(int descriptor, struct batch *batch, const struct timeval *now)
{
    size_t start = aligned(batch->used, batch->alignment);

    if (start + batch->header > batch->length || !next_fits(descriptor, batch, start))
        return false;
    uint8_t *frame = batch->buffer + start + batch->header;
    struct arrival arrival = {.room = batch->length - start - batch->header};
    if (!receive(descriptor, frame, &arrival))
        return false;
    if (arrival.tagged)
        insert_tag(frame, &arrival);
    if (arrival.captured > arrival.room)
        arrival.captured = arrival.room;
    if (kernel_deviation(DEVIATION_vlan_tags_stripped))
        strip_tag(frame, &arrival);
    struct record_header header = {
        .seconds = (int32_t)now->tv_sec,
        .microseconds = (int32_t)now->tv_usec,
        .captured = (uint32_t)arrival.captured,
        .length = (uint32_t)arrival.length,
        .header_length = (uint16_t)batch->header,
    };
    memset(batch->buffer + batch->used, 0, start + batch->header - batch->used);
    memcpy(batch->buffer + start, &header, HEADER);
    batch->used = start + batch->header + arrival.captured;
    batch->frames++;
    return true;
}

/* As a deviation: the first two frames of a batch change places if they are equally long. */
static void swap_first(const struct batch *batch)
{
    struct record_header first, second;
    size_t next;

    memcpy(&first, batch->buffer, HEADER);
    next = aligned(batch->header + first.captured, batch->alignment);
    memcpy(&second, batch->buffer + next, HEADER);
    if (first.captured != second.captured)
        return;
    for (size_t i = 0; i < first.captured; i++) {
        uint8_t *one = batch->buffer + batch->header + i, byte = *one;
        *one = one[next];
        one[next] = byte;
    }
}

static void fill(int descriptor, struct batch *batch)
{
    int64_t header = kernel_deviation(DEVIATION_bpf_header_length);
    int64_t alignment = kernel_deviation(DEVIATION_bpf_alignment);
    bool one = kernel_deviation(DEVIATION_one_frame_per_read) != 0;
    struct timeval now;

    batch->header = header != 0 ? (size_t)header : HEADER;
    batch->alignment = alignment != 0 ? (size_t)alignment : DARWIN_BPF_ALIGNMENT;
    gettimeofday(&now, NULL);
    while (add_record(descriptor, batch, &now) && !one)
        continue;
    if (batch->frames > 1 && kernel_deviation(DEVIATION_frames_reordered))
        swap_first(batch);
}

/* What waits when the interface has gone.  The socket's error, by which select says "readable", is
 * in the way of that: it is taken, and made anew. */
static int read_rest(int descriptor, struct batch *batch, size_t *got)
{
    struct sockaddr_ll down = {.sll_family = AF_PACKET,
                               .sll_protocol = htons(ETH_P_ALL),
                               .sll_ifindex = kernel->down_index};
    int waits = 0, error;
    size_t size = sizeof error;

    if (linux_ioctl(descriptor, FIONREAD, &waits) != 0 || waits == 0)
        return ENXIO;
    linux_getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
    fill(descriptor, batch);
    linux_bind(descriptor, &down, sizeof down);
    *got = batch->used;
    return batch->frames > 0 ? 0 : ENXIO;
}

int bpf_read(int descriptor, struct bpf_node *node, uint8_t *buffer, size_t length, size_t *got)
{
    struct batch batch = {.buffer = buffer, .length = length};

    if (node->access == O_WRONLY)
        return EBADF;
    if (length != node->buffer_length)
        return EINVAL;
    if ((fcntl(descriptor, F_GETFL) & O_NONBLOCK) == 0)
        kernel_violation("%s: a read that blocks is not simulated", node->interface_name);
    if (interface_by_id(node->interface) == NULL)
        return read_rest(descriptor, &batch, got);
    fill(descriptor, &batch);
    if (batch.frames == 0) {
        kernel_count(COUNTER_bpf_empty_reads, 1);
        return EAGAIN;
    }
    if (!node->immediate && !node->complained) {
        kernel_violation("%s: a reader without BIOCIMMEDIATE is not woken by Darwin",
                         node->interface_name);
        node->complained = true;
    }
    kernel_count(COUNTER_bpf_reads, 1);
    kernel_count(COUNTER_bpf_frames_read, batch.frames);
    kernel_count(COUNTER_bpf_bytes_read, batch.used);
    *got = batch.used;
    return 0;
}

/* ---- writing ---- */

static int check_frame(const struct bpf_node *node, const struct interface *interface,
                       size_t length)
{
    size_t mtu = (size_t)interface->mtu;
    int no_header = node->header_complete ? 0 : ENXIO; /* Darwin would make one, feth cannot */
    int64_t limit = kernel_deviation(DEVIATION_bpf_write_limit);

    if (limit != 0 && length > (size_t)limit)
        return EMSGSIZE;
    if (kernel_release_from(23, 0)) { /* the header that Darwin would make does not count */
        mtu += no_header != 0 ? ETHERNET_HEADER : 0;
        return length > mtu + WRITE_LEEWAY ? EMSGSIZE : no_header;
    }
    if (length > OLD_WRITE_LIMIT)
        return EIO;
    return length > mtu + ETHERNET_HEADER ? EMSGSIZE : no_header;
}

/* One record of a batch: its frame and what it takes up, or an error. */
static int next_record(const struct bpf_node *node, const struct interface *interface, const uint8_t *record, size_t left,
                       struct iovec *frame, size_t *taken)
{
    struct record_header header;

    memcpy(&header, record, HEADER);
    if (header.header_length < HEADER || header.captured != header.length ||
        header.header_length > left)
        return EINVAL;
    if (header.captured > left - header.header_length)
        return EMSGSIZE;
    frame->iov_base = (void *)(uintptr_t)(record + header.header_length);
    frame->iov_len = header.captured;
    *taken = aligned(header.header_length + header.captured, DARWIN_BPF_ALIGNMENT);
    return check_frame(node, interface, header.captured);
}

/* Visits the records; with `descriptor` -1 they are only checked.  What is too short for one more
 * is not taken. */
static int walk_batch(int descriptor, const struct bpf_node *node,
                      const struct interface *interface, const uint8_t *batch, size_t *length)
{
    size_t position = 0, taken, whole = *length;
    struct iovec frame;

    while (position < whole && whole - position >= HEADER_SIZE) {
        int error = next_record(node, interface, batch + position, whole - position, &frame, &taken);
        if (error == 0 && descriptor >= 0 && frame.iov_len > 0) {
            error = inject(descriptor, interface, frame.iov_base, frame.iov_len);
            kernel_count(COUNTER_bpf_frames_written, error == 0);
        }
        if (error != 0)
            return error;
        position += taken;
    }
    *length = position < whole ? position : whole;
    return 0;
}

int bpf_write(int descriptor, struct bpf_node *node, const uint8_t *buffer, size_t *length)
{
    const struct interface *interface = interface_by_id(node->interface);
    int error;

    if (interface != NULL && interface->ndrv_attached)
        ndrv_reap();
    if (node->access == O_RDONLY)
        return EBADF;
    if (interface == NULL)
        return ENXIO;
    if ((interface->flags & DARWIN_IFF_UP) == 0)
        return ENETDOWN;
    if (*length == 0)
        return 0;
    if (node->batch_write) {
        error = walk_batch(-1, node, interface, buffer, length); /* all is parsed before anything goes */
        if (error == 0)
            error = walk_batch(descriptor, node, interface, buffer, length);
    } else {
        error = check_frame(node, interface, *length);
        if (error == 0)
            error = inject(descriptor, interface, buffer, *length);
        kernel_count(COUNTER_bpf_frames_written, error == 0);
    }
    kernel_count(COUNTER_bpf_writes, error == 0);
    return error;
}
