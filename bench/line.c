/*
 * A line between two network namespaces: a TAP in each, and in between what an Internet access does to
 * packets. The benchmark compiles it when it starts, for few kernels have netem.
 *
 *     line NEAR FAR NAME     the namespaces by path, and what to call the TAP in each; prints "ready"
 *
 * Lines on stdin change it while it runs, until stdin ends:
 *
 *     up|down|both [rate MBITS] [delay MS] [queue MS] [loss PERCENT]
 *
 * "up" is from NEAR to FAR. A packet waits in a drop-tail queue, of so many milliseconds at the present
 * rate, is sent at that rate, and arrives after the delay; what is lost is lost behind the queue. Times
 * are computed, not measured: whoever comes late because the processor was busy catches up.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Room for the longest delay at the highest rate: a power of two. */
enum { SLOTS = 1 << 13, LONGEST = 2048, LEAST_QUEUE = 2 * 1514 };

struct packet {
	uint16_t size;
	double due; /* when it arrives, once it was sent */
	unsigned char data[LONGEST];
};

struct direction {
	int from, to;
	double rate, delay, queue, loss; /* bytes a second, seconds, seconds, 0 to 1 */
	double free;                     /* when the packet that was sent last is out */
	double backlog;                  /* bytes that wait */
	unsigned first, next, last;      /* to arrive: first to next; waiting: next to last */
	struct packet *packets;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct packet *slot(struct direction *d, unsigned index)
{
	return &d->packets[index % SLOTS];
}

static int open_tap(const char *namespace, const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int where = open(namespace, O_RDONLY | O_CLOEXEC), tap;

	if (where < 0 || setns(where, CLONE_NEWNET) < 0)
		err(1, "%s", namespace);
	close(where);
	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0)
		err(1, "cannot create the TAP %s", name);
	return tap;
}

static void take(struct direction *d, double t)
{
	for (;;) {
		struct packet *p = slot(d, d->last);
		ssize_t size = read(d->from, p->data, LONGEST);
		double most = d->rate * d->queue;

		if (size <= 0)
			return;
		if (most < LEAST_QUEUE)
			most = LEAST_QUEUE;
		if (d->backlog + size > most || d->last - d->first >= SLOTS - 1)
			continue;
		if (d->next == d->last && d->free < t)
			d->free = t;
		p->size = size;
		d->backlog += size;
		d->last++;
	}
}

static void send_due(struct direction *d, double t)
{
	while (d->next != d->last && d->free <= t) {
		struct packet *p = slot(d, d->next);

		d->free += p->size / d->rate;
		p->due = d->free + d->delay;
		d->backlog -= p->size;
		if (drand48() < d->loss)
			p->size = 0;
		d->next++;
	}
}

static void deliver(struct direction *d, double t)
{
	for (; d->first != d->next; d->first++) {
		struct packet *p = slot(d, d->first);

		if (p->due > t)
			return;
		if (p->size && write(d->to, p->data, p->size) < 0 && errno != EAGAIN && errno != EIO)
			err(1, "cannot write to the TAP");
	}
}

static double next_due(struct direction *d, double soonest)
{
	if (d->next != d->last && d->free < soonest)
		soonest = d->free;
	if (d->first != d->next && slot(d, d->first)->due < soonest)
		soonest = slot(d, d->first)->due;
	return soonest;
}

static void set(struct direction *d, const char *word, double value)
{
	if (!strcmp(word, "rate"))
		d->rate = value * 125000;
	else if (!strcmp(word, "delay"))
		d->delay = value / 1000;
	else if (!strcmp(word, "queue"))
		d->queue = value / 1000;
	else if (!strcmp(word, "loss"))
		d->loss = value / 100;
	else
		errx(1, "no such word: %s", word);
}

static void obey(struct direction *up, struct direction *down, char *line)
{
	char *which = strtok(line, " \n"), *word, *value;

	while (which && (word = strtok(NULL, " \n")) && (value = strtok(NULL, " \n"))) {
		if (strcmp(which, "down"))
			set(up, word, atof(value));
		if (strcmp(which, "up"))
			set(down, word, atof(value));
	}
}

/* Return whether stdin goes on. */
static int listen_to(struct direction *up, struct direction *down)
{
	static char text[4096];
	static size_t have;
	char *end;
	ssize_t size = read(0, text + have, sizeof text - 1 - have);

	if (size <= 0)
		return 0;
	have += size;
	text[have] = 0;
	while ((end = strchr(text, '\n'))) {
		*end++ = 0;
		obey(up, down, text);
		have -= end - text;
		memmove(text, end, have + 1);
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct direction lines[2] = { { 0 } }, *up = &lines[0], *down = &lines[1];

	if (argc != 4)
		errx(64, "usage: line NEAR FAR NAME");
	prctl(PR_SET_TIMERSLACK, 1UL);
	for (int i = 0; i < 2; i++) {
		lines[i] = (struct direction){ .rate = 1.25e6, .delay = 0.02, .queue = 0.1 };
		lines[i].packets = calloc(SLOTS, sizeof(struct packet));
		if (!lines[i].packets)
			err(1, "no memory");
	}
	up->from = down->to = open_tap(argv[1], argv[3]);
	down->from = up->to = open_tap(argv[2], argv[3]);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd ready[3] = { { 0, POLLIN, 0 }, { up->from, POLLIN, 0 }, { down->from, POLLIN, 0 } };
		double t = now(), left = next_due(up, next_due(down, t + 1)) - t;
		struct timespec wait = { 0, left > 0 ? (long)(left * 1e9) : 0 };

		if (left >= 1)
			wait = (struct timespec){ 1, 0 };
		if (ppoll(ready, 3, &wait, NULL) < 0 && errno != EINTR)
			err(1, "ppoll");
		if (ready[0].revents && !listen_to(up, down))
			return 0;
		t = now();
		for (int i = 0; i < 2; i++) {
			if (ready[1 + i].revents)
				take(&lines[i], t);
			send_due(&lines[i], t);
			deliver(&lines[i], t);
		}
	}
}
