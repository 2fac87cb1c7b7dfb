/*
 * A simulated Darwin kernel: feth interfaces, bridges, BPF devices and AF_NDRV sockets on Linux.
 *
 * Why.  Only a Mac has a feth interface, but people without one must be able to work on the code
 * that drives it, and a test must be able to make any single call fail.  So the code under test
 * runs unmodified, and the seam is the C library: this library is preloaded (LD_PRELOAD) and
 * answers, as Darwin does, the few calls that reach a Darwin kernel.  All others go on to Linux.
 * The program believes that it is on Darwin because uname(2) says so.
 *
 * What a simulated interface is.  Each `fethN` is one end of a real Linux veth pair whose other
 * end, `hN`, the program never sees.  Peering two of them redirects what comes in at one hidden
 * end out of the other (tc: cls_bpf, mirred):
 *
 *     IP stack = feth10000 === h10000  <= redirect =>  h20000 === feth20000 = IP stack
 *                                 ^                      ^
 *                         BPF on feth10000       BPF on feth20000
 *
 * A BPF device is a packet socket on the hidden end: there, what the interface sends comes in and
 * what it receives goes out.
 *
 * Unpeered, the hidden end drops everything.  A frame written through BPF or AF_NDRV leaves from
 * the real interface, so other BPF readers there see it as sent, and the peer's IP stack gets it:
 * ping and TCP run through the real Linux stack, and descriptors are selectable.  Addresses, MTU,
 * MAC and UP are set on the real interface as well.
 *
 * Where the state is.  In one file (environment: DARWIN_STATE) that every process maps before it
 * can drop privileges, under one robust lock.  A descriptor is known by the inode of its Linux
 * socket: its state survives dup, fork and SCM_RIGHTS, and dies with the last descriptor
 * (/proc/net/packet tells).  Interfaces outlive their makers.  Whether a caller is root is decided
 * by its effective user at the time of the call.  One state file belongs to one network namespace.
 *
 * What differs from Linux on purpose, so that nothing but the program's own frames is seen:
 * checksum, segmentation and VLAN offloads are off; IPv6 is off on an interface until its first
 * address, and then has no duplicate address detection, no router solicitation and no router
 * advertisements; ARP answers only for addresses of the interface that was asked (as Darwin does).
 *
 * What is not simulated:
 * - The exact size of BPF's two buffers: the kernel queue holds about as many small frames as they
 *   would, and more large ones.  Time stamps are those of the read.
 * - select(2) on a BPF device without BIOCIMMEDIATE (Darwin waits for a full buffer), reads that
 *   block, and the requests of BPF that the product does not make, such as filters: violations.
 *   So is a frame that is shorter than its header or longer than 16384 bytes: see ndrv.c.
 * - A frame larger than MTU + 18 through AF_NDRV is accepted and seen by BPF on the peer, but not
 *   by the peer's IP stack, nor by a BPF device of the side that sent it.
 * - Before macOS 15, a frame of more than 8 KiB may wait for the next one.
 * - On macOS 10.13 a feth that is made again keeps IFF_PROMISC from the reader under which it was
 *   destroyed.
 * - A VLAN-tagged frame without payload (18 or 19 bytes) is lost: Linux takes it for garbage.
 * - stat(2) of /dev/bpfN, ifconf, kqueue, routing sockets but for adding and deleting a route, and
 *   any request that abi.json does not list.
 *
 * Strictness.  Every error number is Linux's of the same name.  What a correct program would not
 * do but Darwin would let pass, or the simulation does not know, is recorded as a violation, and
 * tests assert that there is none.
 *
 * Facts: for feth, BPF and AF_NDRV what Apple's own code answers, with which tests/xnu compares;
 * for addresses XNU's bsd/netinet/in.c and bsd/netinet6/in6.c.
 * Numbers: darwin_abi.h is generated from abi.json when the library is built.
 *
 * Files: state.c (shared state, rules, logs), link.c (the Linux side), requests.c, feth.c,
 * bridge.c and inet.c (interface requests), bpf.c and bpf_io.c, ndrv.c, route.c, system.c (uname, sysctl, enumeration),
 * interpose.c and interpose_io.c (the C library's calls), linux.c (Linux's), harness.c (the
 * tests').
 */
#ifndef SIMULATED_DARWIN_KERNEL_H
#define SIMULATED_DARWIN_KERNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "darwin_abi.h"

#define NAME_SIZE DARWIN_IFNAMSIZ
#define ETHERNET_HEADER 14
#define LONGEST_FRAME 16384
#define MAX_UNIT 32767 /* IF_MAXUNIT */
#define MAX_INTERFACES 64
#define MAX_ADDRESSES 8
#define MAX_BPF_NODES 256
#define MAX_NDRV 128
#define MAX_RULES 64
#define MAX_CALLS 8192
#define MAX_VIOLATIONS 256
#define MAX_PROCESSES 256
#define NO_INODE 0
#define FOREIGN_INODE UINT64_MAX /* opened by a program outside the simulation, see harness.c */

/* ---- the shared state ---- */

struct address4 {
    uint32_t address, mask, broadcast; /* network byte order; address 0: free */
};

struct address6 {
    uint8_t address[16];
    int32_t prefix; /* 0: free */
    uint32_t valid, preferred;
};

enum interface_kind { KIND_FETH, KIND_LOOPBACK, KIND_ETHERNET, KIND_BRIDGE };

struct interface {
    uint32_t id; /* 0: free; never given twice, so that a descriptor notices a namesake */
    enum interface_kind kind;
    int32_t unit;
    char name[NAME_SIZE];
    int32_t index, hidden_index; /* Linux interface indexes */
    uint32_t peer;               /* id, 0: none */
    uint32_t bridge;             /* id of the one that it is a member of, 0: none */
    uint32_t flags;              /* Darwin's IFF_ bits without PROMISC, which bpf.c derives */
    int32_t mtu, max_mtu, metric;
    uint8_t mac[6];
    bool inet6_attached;
    bool ndrv_attached; /* an AF_NDRV socket was bound to it */
    bool passes;        /* frames get through to Linux's stack and from it, see link.c */
    struct address4 inet[MAX_ADDRESSES];
    struct address6 inet6[MAX_ADDRESSES];
};

struct bpf_node {
    _Atomic uint64_t inode;
    int32_t access; /* O_RDONLY, O_WRONLY or O_RDWR */
    uint32_t buffer_length;
    bool immediate, see_sent, header_complete, batch_write, promiscuous, complained;
    uint32_t interface; /* id; 0: none or gone */
    char interface_name[NAME_SIZE];
    uint64_t received, dropped;
};

struct ndrv_socket {
    _Atomic uint64_t inode;
    bool named, connected; /* named: a bind was tried, for better or worse */
    bool broken;           /* every write is EPIPE */
    /* The one that has this name, which may go and come back.  Empty: a bind failed, or none was
     * tried. */
    char interface_name[NAME_SIZE];
    int32_t send_buffer;
};

struct rule {
    bool active;
    char call[48];          /* "write" stands for "bpf_write" and "ndrv_write" */
    char object[NAME_SIZE]; /* interface or device; empty: any */
    int32_t error;
    int64_t skip, times; /* calls to let pass first; then how many fail, -1: all */
    int32_t instead_of;  /* not 0: only what the kernel answers with this becomes `error` */
    uint64_t hits;
};

struct call_record {
    int32_t process, user, error;
    int64_t value;
    char name[48], device[NAME_SIZE], interface[NAME_SIZE];
};

/* What each means is in simulation.py.  A value of 0 stands for "as Darwin". */
#define DEVIATIONS(X)                                                                              \
    X(batch_write_missing)                                                                         \
    X(max_mtu_ignored)                                                                             \
    X(one_frame_per_read)                                                                          \
    X(send_buffer_default)                                                                         \
    X(send_buffer_limit)                                                                           \
    X(bpf_write_limit)                                                                             \
    X(buffer_length_limit)                                                                         \
    X(see_sent_always)                                                                             \
    X(bpf_header_length)                                                                           \
    X(bpf_alignment)                                                                               \
    X(padded_frames)                                                                               \
    X(vlan_tags_stripped)                                                                          \
    X(hardware_checksums)                                                                          \
    X(mac_ignored)                                                                                 \
    X(link_never_active)                                                                           \
    X(injection_lost)                                                                              \
    X(reception_lost)                                                                              \
    X(frames_reordered)                                                                            \
    X(drops_uncounted)                                                                             \
    X(max_mtu_follows)                                                                             \
    X(routes_refused)

#define COUNTERS(X)                                                                                \
    X(bpf_reads)                                                                                   \
    X(bpf_empty_reads)                                                                             \
    X(bpf_frames_read)                                                                             \
    X(bpf_bytes_read)                                                                              \
    X(bpf_writes)                                                                                  \
    X(bpf_frames_written)                                                                          \
    X(ndrv_writes)                                                                                 \
    X(refused_writes)

#define AS_DEVIATION(name) DEVIATION_##name,
enum deviation { DEVIATIONS(AS_DEVIATION) DEVIATION_COUNT };
#define AS_COUNTER(name) COUNTER_##name,
enum counter { COUNTERS(AS_COUNTER) COUNTER_COUNT };

struct kernel {
    uint64_t magic;
    pthread_mutex_t lock;
    int32_t major, minor; /* of the release */
    char release[32], product[32], machine[32], host_uuid[37];
    uint32_t max_mtu; /* sysctl net.link.fake.max_mtu */
    uint32_t altered; /* which of the sysctls that alter frames is 1, from 1; 0: none */
    uint32_t next_id;
    struct interface interfaces[MAX_INTERFACES];
    _Atomic uint32_t bpf_nodes; /* how many /dev/bpfN exist */
    struct bpf_node bpf[MAX_BPF_NODES];
    struct ndrv_socket ndrv[MAX_NDRV];
    int64_t deviations[DEVIATION_COUNT];
    struct rule rules[MAX_RULES];
    uint64_t counters[COUNTER_COUNT];
    uint64_t call_count, violation_count;
    struct call_record calls[MAX_CALLS];
    char violations[MAX_VIOLATIONS][160];
    int32_t processes[MAX_PROCESSES]; /* who mapped the state: a way into their network namespace */
    uint32_t process_count;
    uint64_t namespace; /* inode of the interfaces' network namespace; 0: none yet */
    int32_t down_index; /* Linux interface index of a device that is never up, see link.c */
};

extern struct kernel *kernel; /* NULL: this process is not simulated */

/* ---- state.c ---- */

/* One call of the program, for rules and logs. */
struct call {
    const char *name;
    const char *device, *interface; /* NULL: none */
    int64_t value;                  /* the number that it sets, if any */
};

struct kernel *state_map(const char *path);
struct kernel *state_create(const char *path);
void kernel_lock(void);
void kernel_unlock(void);
int kernel_fault(const struct call *call);                /* the error that a rule injects, or 0 */
int kernel_misanswer(const struct call *call, int error); /* what a rule makes of the answer */
void kernel_log(const struct call *call, int error);
void kernel_count(enum counter counter, uint64_t amount);
int64_t kernel_deviation(enum deviation deviation);
void kernel_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool kernel_release_from(int major, int minor);
bool is_root(void);
uint64_t current_namespace(void); /* the inode of the network namespace, 0: unknown */
int copy_in(void *to, const void *from, size_t length);
int copy_out(void *to, const void *from, size_t length);

/* ---- link.c: all return 0 or an error number ---- */

int link_create(struct interface *interface);
int link_create_bridge(struct interface *bridge);
int link_destroy(const struct interface *interface);
int link_let_pass(struct interface *interface);
int link_set_mtu(const struct interface *interface);
int link_set_mac(const struct interface *interface);
int link_attach_inet6(const struct interface *interface);
int link_add_inet(const struct interface *interface, const struct address4 *address);
int link_remove_inet(const struct interface *interface, const struct address4 *address);
int link_add_inet6(const struct interface *interface, const struct address6 *address);
int link_remove_inet6(const struct interface *interface, const struct address6 *address);
int link_set_master(const struct interface *member, const struct interface *bridge); /* or NULL */
int link_redirect(const struct interface *from, const struct interface *to);
int link_stop_redirect(const struct interface *from);
int prefix_length(const uint8_t *mask, size_t size); /* -1: not a prefix */

/* ---- requests.c and feth.c ---- */

const char *request_name(uint32_t request); /* NULL: not in abi.json */
int interface_request(int domain, uint32_t request, void *argument);
struct interface *interface_by_name(const char *name);
struct interface *interface_by_id(uint32_t id);
int interface_create(char name[NAME_SIZE]); /* writes the whole name back */
int interface_destroy(struct interface *interface);
uint32_t interface_flags(const struct interface *interface);
void interface_attach_ndrv(struct interface *interface, bool attached);

/* ---- bpf.c and bpf_io.c ---- */

struct bpf_node *bpf_lookup(uint64_t inode);
void bpf_device_name(const struct bpf_node *node, char name[NAME_SIZE]);
int bpf_open(unsigned int unit, int flags, int *descriptor);
int bpf_request(int descriptor, struct bpf_node *node, uint32_t request, void *argument);
int bpf_read(int descriptor, struct bpf_node *node, uint8_t *buffer, size_t length, size_t *got);
int bpf_write(int descriptor, struct bpf_node *node, const uint8_t *buffer, size_t *length);
void bpf_reap(void); /* closes the nodes whose last descriptor is gone */
bool bpf_is_promiscuous(const struct interface *interface);
void bpf_interface_gone(const struct interface *interface);
bool live_packet_sockets(void (*visit)(uint64_t inode, void *context), void *context);

/* ---- ndrv.c ---- */

struct ndrv_socket *ndrv_lookup(uint64_t inode);
int ndrv_open(int type, int protocol, int *descriptor);
int ndrv_bind(struct ndrv_socket *socket, const uint8_t *address, size_t length);
int ndrv_connect(struct ndrv_socket *socket, const uint8_t *address, size_t length);
int ndrv_write(int descriptor, struct ndrv_socket *socket, const uint8_t *frame, size_t length);
void ndrv_reap(void); /* closes the sockets whose last descriptor is gone */
int ndrv_set_send_buffer(struct ndrv_socket *socket, int value);
int inject(int descriptor, const struct interface *interface, const uint8_t *frame, size_t length);

/* ---- linux.c: Linux's own calls; they set errno ---- */

int linux_open(const char *path, int flags, mode_t mode);
int linux_socket(int domain, int type, int protocol);
int linux_bind(int descriptor, const void *address, size_t length);
int linux_ioctl(int descriptor, unsigned long request, void *argument);
int linux_setsockopt(int descriptor, int level, int option, const void *value, size_t length);
int linux_getsockopt(int descriptor, int level, int option, void *value, size_t *length);
ssize_t linux_read(int descriptor, void *buffer, size_t length);
ssize_t linux_write(int descriptor, const void *buffer, size_t length);
ssize_t linux_sendto(int descriptor, const void *data, size_t length, int flags, const void *to,
                     size_t to_length);

#define EXPORT __attribute__((visibility("default")))

#endif
