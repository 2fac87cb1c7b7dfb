/*
 * AF_NDRV sockets, which only send; and how any frame gets onto an interface.  Such a socket is a
 * packet socket that receives nothing (protocol 0).
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_SEND_BUFFER 8192
#define LARGEST_SEND_BUFFER (8 << 20) /* sb_max */
#define VLAN_TAG 4
#define SHORTEST_PADDED 60
#define LONGEST_WAIT 10000 /* turns given to other processes */

/* ---- sockets ---- */

struct ndrv_socket *ndrv_lookup(uint64_t inode)
{
    for (int i = 0; i < MAX_NDRV; i++) {
        if (kernel->ndrv[i].inode == inode)
            return &kernel->ndrv[i];
    }
    return NULL;
}

static void mark_alive(uint64_t inode, void *context)
{
    struct ndrv_socket *socket = ndrv_lookup(inode);

    if (socket != NULL)
        ((bool *)context)[socket - kernel->ndrv] = true;
}

static bool has_socket(const struct interface *interface)
{
    for (int i = 0; i < MAX_NDRV; i++) {
        const struct ndrv_socket *socket = &kernel->ndrv[i];
        if (socket->inode != NO_INODE &&
            strncmp(socket->interface_name, interface->name, NAME_SIZE) == 0)
            return true;
    }
    return false;
}

void ndrv_reap(void)
{
    bool alive[MAX_NDRV] = {false};

    if (!live_packet_sockets(mark_alive, alive))
        return;
    for (int i = 0; i < MAX_NDRV; i++) {
        if (!alive[i])
            kernel->ndrv[i].inode = NO_INODE;
    }
    for (int i = 0; i < MAX_INTERFACES; i++) {
        struct interface *interface = &kernel->interfaces[i];
        if (interface->id != 0 && interface->ndrv_attached && !has_socket(interface))
            interface_attach_ndrv(interface, false);
    }
}

int ndrv_open(int type, int protocol, int *descriptor)
{
    int kind = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), buffer = LARGEST_SEND_BUFFER;
    int64_t unlike = kernel_deviation(DEVIATION_send_buffer_default);
    struct stat status;

    if (kind != SOCK_RAW || protocol != 0)
        return EPROTONOSUPPORT;
    if (!is_root())
        return EPERM;
    ndrv_reap();
    struct ndrv_socket *socket = ndrv_lookup(NO_INODE);
    if (socket == NULL) {
        kernel_violation("more than %d AF_NDRV sockets", MAX_NDRV);
        return ENOBUFS;
    }
    *descriptor = linux_socket(AF_PACKET, type, 0);
    if (*descriptor < 0 || fstat(*descriptor, &status) != 0)
        return errno;
    linux_setsockopt(*descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    memset(socket, 0, sizeof *socket);
    socket->send_buffer = unlike != 0 ? (int32_t)unlike : DEFAULT_SEND_BUFFER;
    socket->inode = status.st_ino;
    return 0;
}

static const char *address_name(const uint8_t *address, size_t length, char name[NAME_SIZE])
{
    memset(name, 0, NAME_SIZE);
    if (length > 2)
        memcpy(name, address + 2, length - 2 < NAME_SIZE ? length - 2 : NAME_SIZE - 1);
    if (length != DARWIN_SIZEOF_sockaddr_ndrv || address[0] != length ||
        address[1] != DARWIN_AF_NDRV)
        kernel_violation("not a sockaddr_ndrv: %zu bytes, length %d, family %d", length,
                         length > 0 ? address[0] : -1, length > 1 ? address[1] : -1);
    return name;
}

int ndrv_bind(struct ndrv_socket *socket, const uint8_t *address, size_t length)
{
    char name[NAME_SIZE];
    struct interface *interface;

    if (socket->named)
        return EINVAL;
    socket->named = true; /* also when it fails: the socket is spoilt then */
    address_name(address, length, name);
    if (name[0] == '\0')
        return EINVAL;
    interface = interface_by_name(name);
    if (interface == NULL)
        return EADDRNOTAVAIL;
    interface_attach_ndrv(interface, true);
    memcpy(socket->interface_name, interface->name, NAME_SIZE);
    return 0;
}

int ndrv_connect(struct ndrv_socket *socket, const uint8_t *address, size_t length)
{
    char name[NAME_SIZE];

    if (socket->connected) { /* disconnects first, which ends sending for good */
        socket->broken = true;
        return 0;
    }
    address_name(address, length, name);
    if (length < DARWIN_SIZEOF_sockaddr_ndrv)
        return EINVAL;
    if (socket->interface_name[0] != '\0' && strncmp(name, socket->interface_name, NAME_SIZE) != 0)
        kernel_violation("AF_NDRV bound to %s, connected to %s", socket->interface_name, name);
    socket->connected = true;
    return 0;
}

int ndrv_set_send_buffer(struct ndrv_socket *socket, int value)
{
    int64_t limit = kernel_deviation(DEVIATION_send_buffer_limit);

    if (value < 1)
        return EINVAL;
    if (value > LARGEST_SEND_BUFFER)
        value = LARGEST_SEND_BUFFER;
    if (limit != 0 && value > limit)
        value = (int)limit;
    socket->send_buffer = value;
    return 0;
}

int ndrv_write(int descriptor, struct ndrv_socket *socket, const uint8_t *frame, size_t length)
{
    if (socket->broken)
        return EPIPE;
    if (!socket->connected)
        return EDESTADDRREQ;
    if (length > (size_t)socket->send_buffer)
        return EMSGSIZE;
    if (socket->interface_name[0] == '\0')
        return EINVAL;
    const struct interface *interface = interface_by_name(socket->interface_name);
    if (interface == NULL)
        return ENXIO;
    if ((interface->flags & DARWIN_IFF_UP) == 0)
        return ENETDOWN;
    int error = inject(descriptor, interface, frame, length);
    kernel_count(COUNTER_ndrv_writes, error == 0);
    return error;
}

/* ---- injecting ---- */

/*
 * Linux hands a frame from device to device in soft interrupts, of the processor that sent it: two
 * frames could overtake each other when the sender moves.  So wait until the last one has arrived,
 * which it nearly always has.
 */
static void wait_for_arrival(int descriptor)
{
    int in_flight = 0;

    for (int turn = 0; turn < LONGEST_WAIT; turn++) {
        if (linux_ioctl(descriptor, SIOCOUTQ, &in_flight) != 0 || in_flight == 0)
            return;
        sched_yield();
    }
}

static size_t largest_frame(const struct interface *interface, const uint8_t *frame)
{
    bool tagged = frame[12] == ETH_P_8021Q >> 8 && frame[13] == (ETH_P_8021Q & 0xff);
    return (size_t)interface->mtu + ETHERNET_HEADER + (tagged ? VLAN_TAG : 0);
}

static int transmit(int descriptor, int32_t index, const uint8_t *frame, size_t length)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = index, .sll_halen = ETH_ALEN};

    memcpy(to.sll_addr, frame, ETH_ALEN);
    if (linux_sendto(descriptor, frame, length, 0, &to, sizeof to) < 0)
        return errno;
    wait_for_arrival(descriptor);
    return 0;
}

int inject(int descriptor, const struct interface *interface, const uint8_t *frame, size_t length)
{
    uint8_t padded[SHORTEST_PADDED] = {0};
    const struct interface *peer = interface_by_id(interface->peer);

    /* Shorter ones panic a Mac, longer ones stop a feth for good before macOS 15. */
    if (length < ETHERNET_HEADER || length > LONGEST_FRAME) {
        kernel_violation("%s: a frame of %zu bytes was written", interface->name, length);
        return EINVAL;
    }
    if (peer == NULL || kernel_deviation(DEVIATION_injection_lost))
        return 0;
    if (kernel_deviation(DEVIATION_padded_frames) && length < sizeof padded) {
        memcpy(padded, frame, length);
        frame = padded;
        length = sizeof padded;
    }
    if (length <= largest_frame(interface, frame))
        return transmit(descriptor, interface->index, frame, length);
    /* Darwin does not look at the MTU here, Linux does: go in behind the interface.  The peer may
     * refuse it. */
    int error = transmit(descriptor, peer->hidden_index, frame, length);
    return error == ENOBUFS ? 0 : error;
}
