/*
 * The TAP that stands for the bridge. Linux is called through syscall(2): the simulated Darwin
 * kernel stands where the C library's functions were.
 */
#define _GNU_SOURCE
#include "standin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME "bridge100"

static int call(int descriptor, unsigned long request, void *argument)
{
    return (int)syscall(SYS_ioctl, descriptor, request, argument);
}

static int set_address(int configuration, unsigned long request, const char *text)
{
    struct ifreq ifr = {.ifr_name = NAME};
    struct sockaddr_in address = {.sin_family = AF_INET};

    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        return -1;
    memcpy(&ifr.ifr_addr, &address, sizeof address);
    return call(configuration, request, &ifr);
}

static int configure(const struct range *range, unsigned mtu)
{
    struct ifreq ifr = {.ifr_name = NAME, .ifr_mtu = (int)mtu};
    int configuration = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int result = call(configuration, SIOCSIFMTU, &ifr);

    if (result == 0 && range->start != NULL) {
        result = set_address(configuration, SIOCSIFADDR, range->start);
        if (result == 0)
            result = set_address(configuration, SIOCSIFNETMASK, range->mask);
    }
    ifr.ifr_flags = IFF_UP | IFF_BROADCAST | IFF_MULTICAST | IFF_RUNNING;
    if (result == 0)
        result = call(configuration, SIOCSIFFLAGS, &ifr);
    syscall(SYS_close, configuration);
    return result;
}

int tap_open(const struct range *range, unsigned mtu)
{
    struct ifreq ifr = {.ifr_name = NAME, .ifr_flags = IFF_TAP | IFF_NO_PI};
    int tap = (int)syscall(SYS_openat, AT_FDCWD, "/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (tap < 0)
        return -1;
    if (call(tap, TUNSETIFF, &ifr) == 0 &&
        (getenv("VMNET_ENTITLED") != NULL || configure(range, mtu) == 0))
        return tap;
    syscall(SYS_close, tap);
    return -1;
}
