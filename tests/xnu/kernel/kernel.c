/*
 * The way into Apple's networking code, compiled with its own headers: what is needed of the rest
 * of the kernel in its types, how to start it, and one function for each thing that a program can
 * ask.  All of these return an error number of Darwin's, or 0.
 *
 * XNU is the number of the release: 4570, 8796, 10063 or 11417.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/vnode.h>
#include <sys/proc_internal.h>
#include <sys/resourcevar.h>
#include <sys/malloc.h>
#include <sys/mbuf.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <sys/protosw.h>
#include <sys/domain.h>
#include <sys/uio_internal.h>
#include <sys/file_internal.h>
#include <sys/fcntl.h>
#include <sys/sysctl.h>
#include <sys/kpi_mbuf.h>
#include <kern/zalloc.h>
#include <machine/machine_routines.h>
#include <net/if.h>
#include <net/if_var.h>
#include <net/dlil.h>
#include <net/bpf.h>
#include <net/ethernet.h>
#include <net/kpi_interface.h>
#include <netinet/in.h>
#include <netinet/igmp_var.h>
#include <netinet6/mld6_var.h>
#include <miscfs/devfs/devfs.h>
#if XNU > 4570
#include <kern/startup.h>
#include <vm/vm_kern.h>
#endif

extern void *host_allocate(unsigned long size), *host_pool(unsigned long size);
extern void host_free(void *memory), host_enter(void), host_leave(void);

/* ---- memory ---- */

struct zone *host_zone(unsigned long size)
{
    unsigned long *zone = host_allocate(256);

    *zone = size;
    return (struct zone *)zone;
}

#if XNU > 4570
static unsigned long zone_sizes[512];

void zone_create_startup(struct zone_create_startup_spec *zone)
{
    zone_sizes[zone->z_zid == ZONE_ID_ANY ? 0 : zone->z_zid] = zone->z_size;
    if (zone->z_var != NULL)
        *zone->z_var = host_zone(zone->z_size);
}

void *host_zone_allocate(int id)
{
    return host_allocate(zone_sizes[id]);
}

zone_t (zone_by_id)(size_t id)
{
    return (zone_t)&zone_sizes[id];
}

vm_size_t zone_get_elem_size(zone_t zone)
{
    return *(unsigned long *)zone;
}

void *(zalloc_id)(zone_id_t id, zalloc_flags_t flags)
{
    return host_zone_allocate(id);
}

void *(zalloc_flags)(zone_t zone, zalloc_flags_t flags)
{
    return host_allocate(*(unsigned long *)zone);
}
#else
zone_t zinit(vm_size_t size, vm_size_t maximum, vm_size_t chunk, const char *name)
{
    return host_zone(size);
}

void *zalloc_noblock(zone_t zone)
{
    return host_allocate(*(unsigned long *)zone);
}
#endif

void *(zalloc)(zone_t zone)
{
    return host_allocate(*(unsigned long *)zone);
}

void (zfree)(zone_t zone, void *memory)
{
    host_free(memory);
}

#if XNU >= 10063 /* mbufs come from caches of zones */
zone_cache_ops_t zcache_ops[ZONE_ID__FIRST_DYNAMIC];

void zstack_push(zstack_t *stack, void *element)
{
    *(vm_offset_t *)element = stack->z_head;
    stack->z_head = (vm_offset_t)element;
    stack->z_count++;
}

void *zstack_pop(zstack_t *stack)
{
    void *element = (void *)stack->z_head;

    stack->z_head = *(vm_offset_t *)element;
    stack->z_count--;
    return element;
}

zstack_t (zalloc_n)(zone_id_t id, uint32_t count, zalloc_flags_t flags)
{
    zstack_t stack = {0};

    while (count-- > 0)
        zstack_push(&stack, host_zone_allocate(id));
    return stack;
}

void (zfree_nozero_n)(zone_id_t id, zstack_t stack)
{
    while (stack.z_count > 0)
        host_free(zstack_pop(&stack));
}

zstack_t (zcache_alloc_n)(zone_id_t id, uint32_t count, zalloc_flags_t flags, zone_cache_ops_t ops)
{
    zstack_t stack = {0};

    while (count-- > 0)
        zstack_push(&stack, ops->zc_op_mark_valid(id, ops->zc_op_alloc(id, flags)));
    return stack;
}

void (zcache_free_n)(zone_id_t id, zstack_t stack, zone_cache_ops_t ops)
{
    while (stack.z_count > 0)
        ops->zc_op_free(id, ops->zc_op_mark_invalid(id, zstack_pop(&stack)));
}

void *(zcache_mark_valid)(zone_t zone, void *element)
{
    return element;
}

void *(zcache_mark_invalid)(zone_t zone, void *element)
{
    return element;
}
#else /* mbufs come from one pool */
extern unsigned char *mbutl;
extern unsigned int nmbclusters;
extern void mcache_init(void);
static unsigned char *pool_rest;

static void *from_pool(unsigned long size)
{
    void *memory = pool_rest;

    pool_rest += (size + 4095) & ~4095ul;
    return memory;
}

void ml_cpu_get_info(ml_cpu_info_t *info)
{
    bzero(info, sizeof *info);
    info->cache_line_size = 64;
}

#if XNU > 4570
kmem_return_t kmem_alloc_guard(vm_map_t map, vm_size_t size, vm_offset_t mask, kma_flags_t flags,
                               kmem_guard_t guard)
{
    kmem_return_t result = {};

    result.kmr_address = (vm_address_t)from_pool(size);
    return result;
}

kmem_return_t kmem_alloc_contig_guard(vm_map_t map, vm_size_t size, vm_offset_t mask, ppnum_t page,
                                      ppnum_t pages, kma_flags_t flags, kmem_guard_t guard)
{
    return kmem_alloc_guard(map, size, mask, flags, guard);
}
#else
vm_offset_t kmem_mb_alloc(vm_map_t map, int size, int contiguous, kern_return_t *error)
{
    if (error != NULL)
        *error = 0;
    return (vm_offset_t)from_pool(size);
}
#endif
#endif

/* ---- protocols that this kernel has in name only ---- */

static int attach(struct socket *socket, int protocol, struct proc *process)
{
    return soreserve(socket, 9216, 9216);
}

static int detach(struct socket *socket)
{
    socket->so_flags |= SOF_PCBCLEARING;
    return 0;
}

static struct pr_usrreqs datagram_requests = {
    .pru_sosend = sosend, .pru_soreceive = soreceive, .pru_attach = attach, .pru_detach = detach};
static struct protosw datagrams = {.pr_type = SOCK_DGRAM,
                                   .pr_protocol = 17,
                                   .pr_flags = PR_ATOMIC | PR_ADDR,
                                   .pr_usrreqs = &datagram_requests};

static void start_domain(struct domain *domain)
{
    if (domain->dom_family == PF_INET)
        net_add_proto(&datagrams, domain, 1);
}

#define DOMAIN(variable, family)                                                                   \
    struct domain variable = {.dom_family = family, .dom_name = #variable, .dom_init = start_domain}
DOMAIN(inetdomain_s, PF_INET);
DOMAIN(inet6domain_s, PF_INET6);
DOMAIN(systemdomain_s, PF_SYSTEM);
DOMAIN(localdomain_s, PF_LOCAL);
DOMAIN(mpdomain_s, PF_MULTIPATH);
DOMAIN(routedomain_s, PF_ROUTE);
#if XNU > 4570
DOMAIN(vsockdomain_s, PF_VSOCK);
#endif
struct domains_head domains = TAILQ_HEAD_INITIALIZER(domains);
struct ifnet *lo_ifp;

vm_size_t get_inpcb_str_size(void)
{
    return 64;
}

vm_size_t get_tcp_str_size(void)
{
    return 64;
}

#if XNU > 4570
#define HOW , zalloc_flags_t how
#else
#define HOW , int how
#endif

struct igmp_ifinfo *igmp_domifattach(struct ifnet *interface HOW)
{
    struct igmp_ifinfo *info = host_allocate(sizeof *info);

    info->igi_ifp = interface;
    info->igi_refcnt = 99;
    return info;
}

struct mld_ifinfo *mld_domifattach(struct ifnet *interface HOW)
{
    struct mld_ifinfo *info = host_allocate(sizeof *info);

    info->mli_ifp = interface;
    info->mli_refcnt = 99;
    return info;
}

/* ---- sysctl, by the last part of a name; only numbers ---- */

static struct sysctl_oid *oids[2000];
static int oid_count;
static struct {
    int is_set, value, old;
} asked;
#if XNU > 4570
struct sysctl_oid_list sysctl__net_children;
#endif

void sysctl_register_oid(struct sysctl_oid *oid)
{
    if (oid_count < (int)(sizeof oids / sizeof oids[0]))
        oids[oid_count++] = oid;
}

void sysctl_register_oid_early(struct sysctl_oid *oid)
{
    sysctl_register_oid(oid);
}

int sysctl_io_number(struct sysctl_req *request, long long old, size_t size, void *new,
                     int *changed)
{
    asked.old = (int)old;
    if (asked.is_set)
        *(int *)new = asked.value;
    if (changed != NULL)
        *changed = asked.is_set && asked.value != (int)old;
    return 0;
}

int sysctl_handle_int(struct sysctl_oid *oid, void *number, int constant,
                      struct sysctl_req *request)
{
    return sysctl_io_number(request, *(int *)number, 4, number, NULL);
}

int enter_sysctl(const char *name, int *old, int is_set, int value)
{
    struct sysctl_req request = {0};
    int error = ENOENT;

    host_enter();
    asked.is_set = is_set;
    asked.value = value;
    request.newptr = is_set ? (user_addr_t)&asked.value : 0;
    request.newlen = is_set ? 4 : 0;
    for (int i = 0; i < oid_count; i++) {
        struct sysctl_oid *oid = oids[i];
        if (strcmp(oid->oid_name, name) == 0) {
            error = oid->oid_handler(oid, oid->oid_arg1, oid->oid_arg2, &request);
            *old = asked.old;
            break;
        }
    }
    host_leave();
    return error;
}

/* ---- the start ---- */

extern void mbinit(void), socketinit(void), domaininit(void), dlil_init(void);
extern void ether_family_init(void);
extern int bpf_init(void *);

#if XNU > 4570
struct startup {
    startup_subsystem_id_t subsystem;
    startup_rank_t rank;
    void (*function)(const void *);
    const void *argument;
};
extern struct startup first_startup[], end_of_startup[];

/* The first of a subsystem have rank 0; those in the middle and the last are marked as such. */
static int step_of(startup_rank_t rank)
{
    return rank == 0 ? 0 : rank < STARTUP_RANK_MIDDLE ? 1 : rank == STARTUP_RANK_MIDDLE ? 2 : 3;
}

static void run_startup(void)
{
    for (unsigned subsystem = 0; subsystem < 64; subsystem++) {
        for (int step = 0; step < 4; step++) {
            for (struct startup *each = first_startup; each < end_of_startup; each++) {
                if (each->subsystem == subsystem && step_of(each->rank) == step &&
                    each->function != NULL)
                    each->function(each->argument);
            }
        }
    }
}
#else
extern void eventhandler_init(void), net_str_id_init(void), nwk_wq_init(void);
extern void proto_kpi_init(void);
extern struct sysctl_oid *first_sysctl[], *end_of_sysctls[];

static void run_startup(void)
{
    for (struct sysctl_oid **oid = first_sysctl; oid < end_of_sysctls; oid++)
        sysctl_register_oid(*oid);
}
#endif

void enter_boot(void)
{
    host_enter();
    current_proc()->p_stats = host_allocate(4096);
    run_startup();
#if XNU < 10063
    mcache_init();
    mbutl = pool_rest = host_pool((unsigned long)nmbclusters * 2048);
#endif
    mbinit();
#if XNU == 4570
    eventhandler_init();
    net_str_id_init();
    nwk_wq_init();
#endif
    socketinit();
#if XNU == 4570
    domaininit();
    proto_kpi_init();
    dlil_init();
#else
    dlil_init();
    domaininit();
#endif
    bpf_init(0);
    ether_family_init();
    host_leave();
}

/* ---- BPF ---- */

#define READ_WRITE (FREAD | FWRITE)
static const struct cdevsw *bpf;

#if XNU > 4570
int cdevsw_add(int major, const struct cdevsw *device)
#else
int cdevsw_add(int major, struct cdevsw *device)
#endif
{
    bpf = device;
    return 23;
}

static int nodes;

void *devfs_make_node(dev_t device, int type, uid_t user, gid_t group, int mode,
                      const char *format, ...)
{
    nodes++;
    return &nodes;
}

int enter_bpf_nodes(void)
{
    return nodes;
}

static dev_t device_of(int unit)
{
    return makedev(23, unit);
}

int enter_bpf_open(int unit)
{
    host_enter();
    int error = bpf->d_open(device_of(unit), READ_WRITE, S_IFCHR, current_proc());
    host_leave();
    return error;
}

int enter_bpf_close(int unit)
{
    host_enter();
    int error = bpf->d_close(device_of(unit), READ_WRITE, S_IFCHR, current_proc());
    host_leave();
    return error;
}

int enter_bpf_ioctl(int unit, unsigned long request, void *argument)
{
    host_enter();
    int error = bpf->d_ioctl(device_of(unit), request, argument, READ_WRITE, current_proc());
    host_leave();
    return error;
}

/* Whether select(2) would say that it is ready: an error counts, too. */
int enter_bpf_select(int unit)
{
    host_enter();
    int ready = bpf->d_select(device_of(unit), FREAD, NULL, current_proc()) != 0;
    host_leave();
    return ready;
}

static uio_t one_buffer(void *buffer, long size, int direction)
{
    uio_t uio = uio_create(1, 0, UIO_USERSPACE64, direction);

    uio_addiov(uio, (user_addr_t)buffer, size);
    return uio;
}

int enter_bpf_read(int unit, void *buffer, long size, long *got)
{
    host_enter();
    uio_t uio = one_buffer(buffer, size, UIO_READ);
    int error = bpf->d_read(device_of(unit), uio, IO_NDELAY);
    *got = size - uio_resid(uio);
    uio_free(uio);
    host_leave();
    return error;
}

int enter_bpf_write(int unit, void *buffer, long size, long *taken)
{
    host_enter();
    uio_t uio = one_buffer(buffer, size, UIO_WRITE);
    int error = bpf->d_write(device_of(unit), uio, IO_NDELAY);
    *taken = size - uio_resid(uio);
    uio_free(uio);
    host_leave();
    return error;
}

/* ---- sockets, and the requests to interfaces ---- */

int enter_socket(int domain, int type, int protocol, struct socket **socket)
{
    host_enter();
    int error = socreate(domain, socket, type, protocol);
    if (error == 0)
        (*socket)->so_state |= SS_NBIO;
    host_leave();
    return error;
}

int enter_close(struct socket *socket)
{
    host_enter();
    int error = soclose(socket);
    host_leave();
    return error;
}

static struct sockaddr *kernel_address(const void *address, int length)
{
    static char copy[256];

    bzero(copy, sizeof copy);
    bcopy(address, copy, length);
    copy[0] = length;
    return (struct sockaddr *)copy;
}

int enter_bind(struct socket *socket, const void *address, int length)
{
    host_enter();
    int error = sobindlock(socket, kernel_address(address, length), 1);
    host_leave();
    return error;
}

int enter_connect(struct socket *socket, const void *address, int length)
{
    host_enter();
    int error = soconnectlock(socket, kernel_address(address, length), 1);
    host_leave();
    return error;
}

int enter_send(struct socket *socket, void *buffer, long size, long *taken)
{
    host_enter();
    uio_t uio = one_buffer(buffer, size, UIO_WRITE);
    int error = socket->so_proto->pr_usrreqs->pru_sosend(socket, NULL, uio, NULL, NULL, 0);
    *taken = size - uio_resid(uio);
    uio_free(uio);
    host_leave();
    return error;
}

int enter_send_buffer(struct socket *socket, int *size, int is_set)
{
    struct sockopt option = {.sopt_dir = is_set ? SOPT_SET : SOPT_GET,
                             .sopt_level = SOL_SOCKET,
                             .sopt_name = SO_SNDBUF,
                             .sopt_val = (user_addr_t)size,
                             .sopt_valsize = sizeof *size,
                             .sopt_p = current_proc()};
    host_enter();
    int error = is_set ? sosetoptlock(socket, &option, 1) : sogetoptlock(socket, &option, 1);
    host_leave();
    return error;
}

int enter_ioctl(struct socket *socket, unsigned long request, void *argument)
{
    host_enter();
    int error = ifioctl(socket, request, argument, current_proc());
    host_leave();
    return error;
}

int enter_mac(const char *name, unsigned char mac[6])
{
    host_enter();
    struct ifnet *interface = ifunit(name);
    if (interface != NULL)
        bcopy(IF_LLADDR(interface), mac, 6);
    host_leave();
    return interface != NULL ? 0 : ENXIO;
}

static errno_t refuse_all(ifnet_t interface, unsigned long request, void *argument)
{
    return EOPNOTSUPP;
}

/* Let the driver of an interface refuse all that is handed to it, as many kinds do. */
int enter_make_odd(const char *name)
{
    host_enter();
    struct ifnet *interface = ifunit(name);
    if (interface != NULL)
        interface->if_ioctl = refuse_all;
    host_leave();
    return interface != NULL ? 0 : ENXIO;
}

/* The names of all interfaces, each in 16 bytes; returns how many there are. */
int enter_names(char names[][IFNAMSIZ], int room)
{
    struct ifnet *interface;
    int count = 0;

    host_enter();
    TAILQ_FOREACH (interface, &ifnet_head, if_link) {
        if (count < room)
            strlcpy(names[count++], interface->if_xname, IFNAMSIZ);
    }
    host_leave();
    return count;
}
