/*
 * The Linux side of a simulated interface: a veth pair, made and changed through rtnetlink,
 * ethtool and /proc/sys/net.
 *
 * The hidden end has no addresses and no IPv6, and its tc ingress hook takes every frame before
 * Linux's IP stack could: redirected to the peer's hidden end (priority 1, while peered), else
 * dropped (priority 2).  Both ends are always up, for else no BPF device would see the frames that
 * come to an interface that is down, as it does on Darwin: between Linux's IP stack and an interface
 * that is not UP, or has no peer, the tc hooks of the program's side drop everything.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HIDDEN_MTU 65535 /* whatever the program's side sends must pass */
#define CARRIER_SECONDS 5

/* ---- netlink messages ---- */

struct message {
    struct nlmsghdr header;
    char body[2048];
};

static void begin(struct message *message, uint16_t type, uint16_t flags, const void *fixed,
                  size_t size)
{
    memset(message, 0, sizeof *message);
    message->header.nlmsg_type = type;
    message->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    message->header.nlmsg_len = NLMSG_LENGTH(size);
    memcpy(NLMSG_DATA(&message->header), fixed, size);
}

static struct rtattr *put(struct message *message, unsigned short type, const void *data,
                          size_t size)
{
    size_t offset = NLMSG_ALIGN(message->header.nlmsg_len);
    struct rtattr *attribute = (struct rtattr *)((char *)message + offset);

    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size > 0)
        memcpy(RTA_DATA(attribute), data, size);
    message->header.nlmsg_len = (uint32_t)(offset + RTA_ALIGN(attribute->rta_len));
    return attribute;
}

static struct rtattr *nest(struct message *message, unsigned short type)
{
    return put(message, type, NULL, 0);
}

static void close_nest(struct message *message, struct rtattr *attribute)
{
    char *end = (char *)message + message->header.nlmsg_len;
    attribute->rta_len = (unsigned short)(end - (char *)attribute);
}

static void put_text(struct message *message, unsigned short type, const char *text)
{
    put(message, type, text, strlen(text) + 1);
}

/* One request and the answer to it; `reply` (may be NULL) gets the whole first answer. */
static int talk(struct message *message, void *reply, size_t reply_size)
{
    char buffer[8192];
    int error = EIO;
    int socket = linux_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (socket < 0)
        return errno;
    if (linux_write(socket, message, message->header.nlmsg_len) < 0) {
        error = errno;
        close(socket);
        return error;
    }
    ssize_t length = linux_read(socket, buffer, sizeof buffer);
    const struct nlmsghdr *answer = (const struct nlmsghdr *)buffer;
    if (length >= (ssize_t)sizeof *answer) {
        if (answer->nlmsg_type == NLMSG_ERROR)
            error = -((const struct nlmsgerr *)NLMSG_DATA(answer))->error;
        else
            error = 0;
        if (reply != NULL)
            memcpy(reply, buffer, (size_t)length < reply_size ? (size_t)length : reply_size);
    }
    close(socket);
    return error;
}

static int change_link(int32_t index, unsigned int flags, unsigned int mask, unsigned short type,
                       const void *data, size_t size)
{
    struct ifinfomsg info = {
        .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = flags, .ifi_change = mask};
    struct message message;

    begin(&message, RTM_NEWLINK, 0, &info, sizeof info);
    if (size > 0)
        put(&message, type, data, size);
    return talk(&message, NULL, 0);
}

/* ---- making one ---- */

static void hidden_name(const struct interface *interface, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "h%d", interface->unit);
}

static int make_pair(const struct interface *interface)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    uint32_t mtu = (uint32_t)interface->mtu, hidden_mtu = HIDDEN_MTU, queues = 1;
    char hidden[NAME_SIZE];
    struct message message;

    hidden_name(interface, hidden);
    begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
    put_text(&message, IFLA_IFNAME, interface->name);
    put(&message, IFLA_MTU, &mtu, sizeof mtu);
    put(&message, IFLA_ADDRESS, interface->mac, sizeof interface->mac);
    put(&message, IFLA_NUM_TX_QUEUES, &queues, sizeof queues);
    put(&message, IFLA_NUM_RX_QUEUES, &queues, sizeof queues);
    struct rtattr *link = nest(&message, IFLA_LINKINFO);
    put_text(&message, IFLA_INFO_KIND, "veth");
    struct rtattr *data = nest(&message, IFLA_INFO_DATA);
    struct rtattr *peer = put(&message, VETH_INFO_PEER, &info, sizeof info);
    put_text(&message, IFLA_IFNAME, hidden);
    put(&message, IFLA_MTU, &hidden_mtu, sizeof hidden_mtu);
    put(&message, IFLA_NUM_TX_QUEUES, &queues, sizeof queues);
    put(&message, IFLA_NUM_RX_QUEUES, &queues, sizeof queues);
    close_nest(&message, peer);
    close_nest(&message, data);
    close_nest(&message, link);
    return talk(&message, NULL, 0);
}

static int ask_device(unsigned long request, struct ifreq *ifreq)
{
    int socket = linux_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (socket < 0)
        return errno;
    int error = linux_ioctl(socket, request, ifreq) < 0 ? errno : 0;
    close(socket);
    return error;
}

static int find_index(const char *name, int32_t *index)
{
    struct ifreq ifreq = {0};

    snprintf(ifreq.ifr_name, sizeof ifreq.ifr_name, "%s", name);
    int error = ask_device(SIOCGIFINDEX, &ifreq);
    *index = ifreq.ifr_ifindex;
    return error;
}

static int ethtool(const char *name, uint32_t command, uint32_t *data)
{
    struct ethtool_value value = {.cmd = command, .data = *data};
    struct ifreq ifreq = {.ifr_data = (void *)&value};

    snprintf(ifreq.ifr_name, sizeof ifreq.ifr_name, "%s", name);
    int error = ask_device(SIOCETHTOOL, &ifreq);
    *data = value.data;
    return error == EOPNOTSUPP ? 0 : error; /* cannot do it at all: as good as off */
}

/* Real checksums (and verified ones), no frame above the MTU, VLAN tags inside the frame. */
static int switch_off_offloads(const char *name)
{
    static const uint32_t commands[] = {ETHTOOL_SRXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO,
                                        ETHTOOL_STXCSUM};
    size_t count = sizeof commands / sizeof commands[0];
    uint32_t flags = 0;
    int error = ethtool(name, ETHTOOL_GFLAGS, &flags);

    flags &= ~(uint32_t)(ETH_FLAG_TXVLAN | ETH_FLAG_RXVLAN);
    if (error == 0)
        error = ethtool(name, ETHTOOL_SFLAGS, &flags);
    if (kernel_deviation(DEVIATION_hardware_checksums))
        count--;
    for (size_t i = 0; error == 0 && i < count; i++) {
        uint32_t off = 0;
        error = ethtool(name, commands[i], &off);
    }
    return error;
}

static bool write_setting(const char *protocol, const char *name, const char *key,
                          const char *value)
{
    char path[128];

    snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", protocol, name, key);
    int descriptor = linux_open(path, O_WRONLY | O_CLOEXEC, 0);
    if (descriptor < 0)
        return false;
    bool written = linux_write(descriptor, value, strlen(value)) > 0;
    close(descriptor);
    return written;
}

static int configure(const char *protocol, const char *name, const char *key, const char *value)
{
    return write_setting(protocol, name, key, value) ? 0 : errno;
}

static int quieten(const struct interface *interface, const char *hidden)
{
    int error = configure("ipv4", interface->name, "arp_ignore", "1");

    if (access("/proc/sys/net/ipv6", F_OK) != 0)
        return error; /* a Linux without IPv6 has nothing to say on it */
    if (error == 0)
        error = configure("ipv6", hidden, "disable_ipv6", "1");
    if (error == 0)
        error = configure("ipv6", interface->name, "disable_ipv6", "1");
    if (error == 0)
        error = configure("ipv6", interface->name, "addr_gen_mode", "1"); /* none of its own */
    if (error == 0)
        error = configure("ipv6", interface->name, "accept_ra", "0");
    if (error == 0)
        error = configure("ipv6", interface->name, "accept_dad", "0");
    return error;
}

static int hook(int32_t index)
{
    struct tcmsg qdisc = {.tcm_family = AF_UNSPEC,
                          .tcm_ifindex = index,
                          .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
                          .tcm_parent = TC_H_CLSACT};
    struct message message;

    begin(&message, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &qdisc, sizeof qdisc);
    put_text(&message, TCA_KIND, "clsact");
    return talk(&message, NULL, 0);
}

static struct tcmsg filter_place(int32_t index, uint32_t way, uint32_t priority)
{
    return (struct tcmsg){.tcm_family = AF_UNSPEC,
                          .tcm_ifindex = index,
                          .tcm_parent = TC_H_MAKE(TC_H_CLSACT, way),
                          .tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL))};
}

/* A filter of one instruction, `return result`; with an action or, without, the result is the
 * verdict. */
static int add_filter(struct tcmsg place, uint32_t result, int32_t target)
{
    struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, result)};
    uint16_t length = 1;
    uint32_t direct = TCA_BPF_FLAG_ACT_DIRECT;
    struct tc_mirred redirect = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)target};
    struct message message;

    begin(&message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &place, sizeof place);
    put_text(&message, TCA_KIND, "bpf");
    struct rtattr *options = nest(&message, TCA_OPTIONS);
    put(&message, TCA_BPF_OPS, program, sizeof program);
    put(&message, TCA_BPF_OPS_LEN, &length, sizeof length);
    if (target == 0) {
        put(&message, TCA_BPF_FLAGS, &direct, sizeof direct);
    } else {
        struct rtattr *actions = nest(&message, TCA_BPF_ACT);
        struct rtattr *first = nest(&message, 1);
        put_text(&message, TCA_ACT_KIND, "mirred");
        struct rtattr *settings = nest(&message, TCA_ACT_OPTIONS);
        put(&message, TCA_MIRRED_PARMS, &redirect, sizeof redirect);
        close_nest(&message, settings);
        close_nest(&message, first);
        close_nest(&message, actions);
    }
    close_nest(&message, options);
    return talk(&message, NULL, 0);
}

static int remove_filter(struct tcmsg place)
{
    struct message message;

    begin(&message, RTM_DELTFILTER, 0, &place, sizeof place);
    return talk(&message, NULL, 0);
}

static int drop_all(int32_t index, uint32_t way)
{
    return add_filter(filter_place(index, way, 2), TC_ACT_SHOT, 0);
}

static int operational_state(int32_t index, uint8_t *state)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
    char reply[8192];
    struct message message;

    begin(&message, RTM_GETLINK, 0, &info, sizeof info);
    int error = talk(&message, reply, sizeof reply);
    if (error != 0)
        return error;
    const struct nlmsghdr *header = (const struct nlmsghdr *)reply;
    const struct rtattr *attribute = IFLA_RTA(NLMSG_DATA(header));
    size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof info);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == IFLA_OPERSTATE) {
            *state = *(const uint8_t *)RTA_DATA(attribute);
            return 0;
        }
    }
    return ENODATA;
}

/* Linux tells the other end of a veth pair of UP in a work queue, and frames are lost until then. */
static int wait_for_carrier(int32_t index)
{
    struct timespec start, now;
    uint8_t state;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        int error = operational_state(index, &state);
        if (error != 0 || state == IF_OPER_UP)
            return error;
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < CARRIER_SECONDS);
    return ETIMEDOUT;
}

static int stop_passing(struct interface *interface)
{
    int error = drop_all(interface->index, TC_H_MIN_INGRESS);

    interface->passes = false;
    return error != 0 ? error : drop_all(interface->index, TC_H_MIN_EGRESS);
}

static int start_passing(struct interface *interface)
{
    int error = remove_filter(filter_place(interface->index, TC_H_MIN_INGRESS, 2));

    interface->passes = true;
    if (error != 0)
        return error;
    return remove_filter(filter_place(interface->index, TC_H_MIN_EGRESS, 2));
}

/* A device that is never up: a packet socket that is bound to it selects as readable for good, as
 * a BPF device does whose interface has gone. */
static int find_down_device(void)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct message message;

    if (find_index("hdown", &kernel->down_index) == 0)
        return 0;
    begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
    put_text(&message, IFLA_IFNAME, "hdown");
    struct rtattr *link = nest(&message, IFLA_LINKINFO);
    put_text(&message, IFLA_INFO_KIND, "veth");
    close_nest(&message, link);
    int error = talk(&message, NULL, 0);
    return error != 0 ? error : find_index("hdown", &kernel->down_index);
}

/* Removes what a killed process has made or destroyed only in part: on a Mac, SIGKILL does not cut
 * a request short. */
static void remove_remains(const struct interface *interface)
{
    struct interface remains = {.index = 0};

    if (find_index(interface->name, &remains.index) == 0)
        link_destroy(&remains);
}

int link_create(struct interface *interface)
{
    char hidden[NAME_SIZE];
    int error = find_down_device();

    if (error == 0) {
        remove_remains(interface);
        error = make_pair(interface);
    }
    if (error != 0)
        return error;
    hidden_name(interface, hidden);
    error = find_index(interface->name, &interface->index);
    if (error == 0)
        error = find_index(hidden, &interface->hidden_index);
    if (error == 0)
        error = quieten(interface, hidden);
    if (error == 0)
        error = switch_off_offloads(interface->name);
    if (error == 0)
        error = switch_off_offloads(hidden);
    if (error == 0)
        error = hook(interface->hidden_index);
    if (error == 0)
        error = drop_all(interface->hidden_index, TC_H_MIN_INGRESS);
    if (error == 0)
        error = hook(interface->index);
    if (error == 0)
        error = stop_passing(interface);
    if (error == 0)
        error = change_link(interface->hidden_index, IFF_UP, IFF_UP, 0, NULL, 0);
    if (error == 0)
        error = change_link(interface->index, IFF_UP, IFF_UP, 0, NULL, 0);
    if (error == 0)
        error = wait_for_carrier(interface->hidden_index);
    if (error == 0)
        error = wait_for_carrier(interface->index);
    if (error != 0)
        link_destroy(interface);
    return error;
}

int link_create_bridge(struct interface *bridge)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct message message;

    begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
    put_text(&message, IFLA_IFNAME, bridge->name);
    struct rtattr *link = nest(&message, IFLA_LINKINFO);
    put_text(&message, IFLA_INFO_KIND, "bridge");
    close_nest(&message, link);
    int error = talk(&message, NULL, 0);
    return error != 0 ? error : find_index(bridge->name, &bridge->index);
}

int link_set_master(const struct interface *member, const struct interface *bridge)
{
    uint32_t master = bridge == NULL ? 0 : (uint32_t)bridge->index;

    return change_link(member->index, 0, 0, IFLA_MASTER, &master, sizeof master);
}

int link_destroy(const struct interface *interface)
{
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = interface->index};
    struct message message;

    begin(&message, RTM_DELLINK, 0, &info, sizeof info);
    return talk(&message, NULL, 0);
}

/* ---- changing it ---- */

int link_let_pass(struct interface *interface)
{
    bool passes = (interface->flags & DARWIN_IFF_UP) != 0 && interface->peer != 0;

    if (interface->passes == passes)
        return 0;
    return passes ? start_passing(interface) : stop_passing(interface);
}

/* Linux ends IPv6 under an MTU of 1280, and above begins it anew, as on any new device. */
int link_set_mtu(const struct interface *interface)
{
    static const char path[] = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    uint32_t mtu = (uint32_t)interface->mtu;
    char was = '0';
    int descriptor = linux_open(path, O_RDWR | O_CLOEXEC, 0);

    if (descriptor >= 0 && pread(descriptor, &was, 1, 0) == 1)
        pwrite(descriptor, "1", 1, 0);
    int error = change_link(interface->index, 0, 0, IFLA_MTU, &mtu, sizeof mtu);
    if (descriptor >= 0) {
        pwrite(descriptor, &was, 1, 0);
        close(descriptor);
    }
    return error;
}

int link_set_mac(const struct interface *interface)
{
    return change_link(interface->index, 0, 0, IFLA_ADDRESS, interface->mac, sizeof interface->mac);
}

int link_attach_inet6(const struct interface *interface)
{
    return configure("ipv6", interface->name, "disable_ipv6", "0");
}

int prefix_length(const uint8_t *mask, size_t size)
{
    size_t ones = 0;

    while (ones < size * 8 && (mask[ones / 8] & 0x80 >> ones % 8) != 0)
        ones++;
    for (size_t bit = ones; bit < size * 8; bit++) {
        if ((mask[bit / 8] & 0x80 >> bit % 8) != 0)
            return -1;
    }
    return (int)ones;
}

static void begin_address(struct message *message, uint16_t type, uint8_t family, int prefix,
                          int32_t index)
{
    struct ifaddrmsg address = {.ifa_family = family,
                                .ifa_prefixlen = (uint8_t)prefix,
                                .ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0,
                                .ifa_index = (uint32_t)index};
    uint16_t flags = type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0;

    begin(message, type, flags, &address, sizeof address);
}

static int change_inet(uint16_t type, const struct interface *interface,
                       const struct address4 *address)
{
    int prefix = prefix_length((const uint8_t *)&address->mask, sizeof address->mask);
    struct message message;

    begin_address(&message, type, AF_INET, prefix, interface->index);
    put(&message, IFA_LOCAL, &address->address, sizeof address->address);
    put(&message, IFA_ADDRESS, &address->address, sizeof address->address);
    if (address->broadcast != 0)
        put(&message, IFA_BROADCAST, &address->broadcast, sizeof address->broadcast);
    return talk(&message, NULL, 0);
}

int link_add_inet(const struct interface *interface, const struct address4 *address)
{
    return change_inet(RTM_NEWADDR, interface, address);
}

int link_remove_inet(const struct interface *interface, const struct address4 *address)
{
    return change_inet(RTM_DELADDR, interface, address);
}

int link_add_inet6(const struct interface *interface, const struct address6 *address)
{
    struct ifa_cacheinfo lifetimes = {.ifa_prefered = address->preferred,
                                      .ifa_valid = address->valid};
    struct message message;

    begin_address(&message, RTM_NEWADDR, AF_INET6, address->prefix, interface->index);
    put(&message, IFA_ADDRESS, address->address, sizeof address->address);
    put(&message, IFA_CACHEINFO, &lifetimes, sizeof lifetimes);
    return talk(&message, NULL, 0);
}

int link_remove_inet6(const struct interface *interface, const struct address6 *address)
{
    struct message message;

    begin_address(&message, RTM_DELADDR, AF_INET6, address->prefix, interface->index);
    put(&message, IFA_ADDRESS, address->address, sizeof address->address);
    return talk(&message, NULL, 0);
}

int link_redirect(const struct interface *from, const struct interface *to)
{
    return add_filter(filter_place(from->hidden_index, TC_H_MIN_INGRESS, 1), UINT32_MAX,
                      to->hidden_index);
}

int link_stop_redirect(const struct interface *from)
{
    return remove_filter(filter_place(from->hidden_index, TC_H_MIN_INGRESS, 1));
}
