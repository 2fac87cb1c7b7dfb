/*
 * BPF devices.  An open node is a packet socket (AF_PACKET), bound by BIOCSETIF to the hidden end
 * of the interface: what the interface sends comes in there, what it receives goes out there.  A
 * socket filter keeps the one from the other (BIOCSSEESENT), so that select wakes for wanted
 * frames only.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_BUFFER 4096
#define MINIMUM_BUFFER 32
#define MAXIMUM_BUFFER (32 << 20)
/* Linux counts a small frame as this many times its size in a BPF buffer. */
#define QUEUE_FACTOR 12

/* ---- nodes ---- */

struct bpf_node *bpf_lookup(uint64_t inode)
{
    for (uint32_t i = 0; i < kernel->bpf_nodes; i++) {
        if (kernel->bpf[i].inode == inode)
            return &kernel->bpf[i];
    }
    return NULL;
}

void bpf_device_name(const struct bpf_node *node, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "bpf%d", (int)(node - kernel->bpf));
}

/* All packet sockets of this network namespace.  False: it cannot be told. */
bool live_packet_sockets(void (*visit)(uint64_t inode, void *context), void *context)
{
    char line[256];

    if (kernel->namespace != 0 && kernel->namespace != current_namespace()) {
        kernel_violation("one state is used in two network namespaces");
        return false;
    }
    FILE *table = fopen("/proc/thread-self/net/packet", "re");
    if (table == NULL) {
        kernel_violation("cannot read /proc/thread-self/net/packet");
        return false;
    }
    while (fgets(line, sizeof line, table) != NULL) {
        unsigned long long inode;
        /* sk RefCnt Type Proto Iface R Rmem User Inode */
        if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %llu", &inode) == 1)
            visit(inode, context);
    }
    fclose(table);
    return true;
}

static void mark_alive(uint64_t inode, void *context)
{
    struct bpf_node *node = bpf_lookup(inode);

    if (node != NULL)
        ((bool *)context)[node - kernel->bpf] = true;
}

void bpf_reap(void)
{
    bool alive[MAX_BPF_NODES] = {false};

    if (!live_packet_sockets(mark_alive, alive))
        return;
    for (int i = 0; i < MAX_BPF_NODES; i++) {
        struct bpf_node *node = &kernel->bpf[i];
        if (!alive[i] && node->inode != FOREIGN_INODE)
            node->inode = NO_INODE;
    }
}

bool bpf_is_promiscuous(const struct interface *interface)
{
    for (int i = 0; i < MAX_BPF_NODES; i++) {
        const struct bpf_node *node = &kernel->bpf[i];
        if (node->inode != NO_INODE && node->promiscuous && node->interface == interface->id)
            return true;
    }
    return false;
}

void bpf_interface_gone(const struct interface *interface)
{
    for (int i = 0; i < MAX_BPF_NODES; i++) {
        if (kernel->bpf[i].interface == interface->id)
            kernel->bpf[i].interface = 0;
    }
}

/* Room for what two buffers of the node hold. */
static void size_queue(int descriptor, const struct bpf_node *node)
{
    int size = (int)node->buffer_length * QUEUE_FACTOR; /* Linux doubles it */

    if (node->buffer_length > INT32_MAX / (2 * QUEUE_FACTOR))
        size = INT32_MAX / 2;
    if (linux_setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        linux_setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

int bpf_open(unsigned int unit, int flags, int *descriptor)
{
    struct stat status;
    int one = 1;
    int kind = SOCK_RAW | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0) |
               (flags & O_NONBLOCK ? SOCK_NONBLOCK : 0);

    if (unit >= kernel->bpf_nodes)
        return ENOENT;
    if (!is_root())
        return EACCES; /* the nodes are 0600 */
    if (unit == kernel->bpf_nodes - 1 && kernel->bpf_nodes < MAX_BPF_NODES)
        kernel->bpf_nodes++;
    struct bpf_node *node = &kernel->bpf[unit];
    if (node->inode != NO_INODE) {
        bpf_reap();
        if (node->inode != NO_INODE)
            return EBUSY;
    }
    *descriptor = linux_socket(AF_PACKET, kind, 0);
    if (*descriptor < 0)
        return errno;
    if (fstat(*descriptor, &status) != 0 ||
        linux_setsockopt(*descriptor, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one) != 0) {
        int error = errno;
        close(*descriptor);
        return error;
    }
    memset(node, 0, sizeof *node);
    node->access = flags & O_ACCMODE;
    node->buffer_length = DEFAULT_BUFFER;
    node->see_sent = true;
    node->inode = status.st_ino;
    size_queue(*descriptor, node);
    return 0;
}

/* ---- attaching ---- */

/* A filter for the direction. */
static int attach_filter(int descriptor, const struct bpf_node *node)
{
    struct sock_filter code[4];
    unsigned short length = 0;
    bool see_sent = node->see_sent || kernel_deviation(DEVIATION_see_sent_always);

    if (kernel_deviation(DEVIATION_reception_lost)) {
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    } else if (!see_sent) {
        code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                      (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE));
        code[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 1, 0);
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    struct sock_fprog program = {length, code};
    return linux_setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0
               ? 0
               : errno;
}

/* Linux resets its counts with every look at them. */
static void take_statistics(int descriptor, struct bpf_node *node)
{
    struct tpacket_stats statistics = {0};
    size_t length = sizeof statistics;

    if (linux_getsockopt(descriptor, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0) {
        node->received += statistics.tp_packets; /* with the dropped ones, as on Darwin */
        node->dropped += statistics.tp_drops;
    }
}

static void reset(int descriptor, struct bpf_node *node)
{
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    while (recvmsg(descriptor, &message, MSG_DONTWAIT | MSG_TRUNC) >= 0)
        continue;
    take_statistics(descriptor, node);
    node->received = node->dropped = 0;
}

static int set_interface(int descriptor, struct bpf_node *node, const char name[NAME_SIZE])
{
    const struct interface *interface = interface_by_name(name);

    if (interface == NULL)
        return ENXIO;
    if (interface->kind != KIND_FETH) {
        kernel_violation("BIOCSETIF to %s is not simulated", interface->name);
        return ENXIO;
    }
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = interface->hidden_index};
    int error = attach_filter(descriptor, node);
    if (error != 0)
        return error;
    if (linux_bind(descriptor, &address, sizeof address) != 0)
        return errno;
    node->promiscuous = node->promiscuous && node->interface == interface->id;
    node->interface = interface->id;
    memcpy(node->interface_name, interface->name, NAME_SIZE);
    reset(descriptor, node);
    return 0;
}

static int set_buffer_length(int descriptor, struct bpf_node *node, uint32_t *length)
{
    uint32_t largest =
        kernel_release_from(22, 0) ? MAXIMUM_BUFFER : DARWIN_BPF_MAXBUFSIZE_older_clamp;
    int64_t limit = kernel_deviation(DEVIATION_buffer_length_limit);

    if (node->interface != 0)
        return EINVAL;
    if (limit != 0 && limit < largest)
        largest = (uint32_t)limit;
    if (*length > largest)
        *length = largest;
    if (*length < MINIMUM_BUFFER)
        *length = MINIMUM_BUFFER;
    node->buffer_length = *length;
    size_queue(descriptor, node);
    return 0;
}

/* ---- requests ---- */

static bool has_batch_write(void)
{
    return kernel_release_from(23, 1) && !kernel_deviation(DEVIATION_batch_write_missing);
}

static int set_batch_write(struct bpf_node *node, bool on)
{
    if (!has_batch_write() || (on && !node->header_complete))
        return EINVAL;
    node->batch_write = on;
    return 0;
}

static int set_header_complete(struct bpf_node *node, bool on)
{
    if (!on && node->batch_write)
        return EINVAL;
    node->header_complete = on;
    return 0;
}

static void get_statistics(int descriptor, struct bpf_node *node, uint32_t statistics[2])
{
    take_statistics(descriptor, node);
    statistics[0] = (uint32_t)node->received;
    statistics[1] = kernel_deviation(DEVIATION_drops_uncounted) ? 0 : (uint32_t)node->dropped;
}

int bpf_request(int descriptor, struct bpf_node *node, uint32_t request, void *argument)
{
    uint32_t *value = argument;

    switch (request) {
    case DARWIN_BIOCGBLEN:
        *value = node->buffer_length;
        return 0;
    case DARWIN_BIOCSBLEN:
        return set_buffer_length(descriptor, node, value);
    case DARWIN_BIOCPROMISC:
        if (node->interface == 0)
            return EINVAL;
        node->promiscuous = true;
        return 0;
    case DARWIN_BIOCSETIF:
        return set_interface(descriptor, node, argument);
    case DARWIN_BIOCGSTATS:
        get_statistics(descriptor, node, argument);
        return 0;
    case DARWIN_BIOCIMMEDIATE:
        node->immediate = *value != 0;
        return 0;
    case DARWIN_BIOCSHDRCMPLT:
        return set_header_complete(node, *value != 0);
    case DARWIN_BIOCSSEESENT:
        node->see_sent = *value != 0;
        return node->interface == 0 ? 0 : attach_filter(descriptor, node);
    case DARWIN_BIOCSBATCHWRITE:
        return set_batch_write(node, *value != 0);
    default:
        kernel_violation("%s: a request that is not simulated", node->interface_name);
        return EINVAL;
    }
}
