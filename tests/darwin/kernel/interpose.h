/* What interpose.c (files and the system) and interpose_io.c (data and sockets) share. */
#ifndef SIMULATED_DARWIN_INTERPOSE_H
#define SIMULATED_DARWIN_INTERPOSE_H

#include "kernel.h"

/* What a descriptor stands for; both NULL: nothing simulated. */
struct target {
    struct bpf_node *bpf;
    struct ndrv_socket *ndrv;
};

/* The names of a call's target, kept while it is logged: the call itself may change them. */
struct names {
    char device[NAME_SIZE], interface[NAME_SIZE];
};

struct target find(int descriptor);
bool is_simulated(struct target target);
struct call call_on(struct target target, struct names *names, const char *name, int64_t value);
int answer(int error); /* 0, or -1 with errno */

#endif
