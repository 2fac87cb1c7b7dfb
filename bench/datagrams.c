/*
 * Both ends of a flood of UDP datagrams; the benchmark compiles it when it starts.
 *
 *     datagrams send ADDRESS SIZE SECONDS   as many as the kernel takes; prints how many a second
 *     datagrams count ADDRESS SECONDS       prints "ready", then how many arrived a second
 *
 * In C, and many to a system call, because both ends run on the same processors as the tunnel: an
 * interpreter there would be measured with it. What the tunnel cannot carry is lost in the queue of its
 * first device, as on any overloaded link. The counter's clock starts with the first datagram.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PORT = 7700, BATCH = 64, LARGEST = 2048 };

static struct mmsghdr messages[BATCH];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void prepare(size_t size)
{
	static char buffers[BATCH][LARGEST];
	static struct iovec vectors[BATCH];

	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ buffers[i], size };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
}

static double send_for(int fd, double seconds)
{
	double begin = now(), end = begin + seconds;
	long total = 0;

	while (now() < end) {
		int sent = sendmmsg(fd, messages, BATCH, 0);

		if (sent > 0) /* else a queue is full, or nobody counts any more: go on */
			total += sent;
	}
	return total / (now() - begin);
}

static double count_for(int fd, double seconds)
{
	struct timeval patience = { .tv_sec = 10 };
	int room = 4 << 20;
	long total = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	puts("ready");
	fflush(stdout);
	if (recvmmsg(fd, messages, 1, 0, NULL) != 1)
		err(1, "no datagram came");
	double begin = now(), end = begin + seconds;

	while (now() < end) {
		int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		if (got < 0)
			err(1, "datagrams stopped coming");
		total += got;
	}
	return total / (now() - begin);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc < 4 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1)
		errx(64, "usage: send ADDRESS SIZE SECONDS | count ADDRESS SECONDS");
	if (strcmp(argv[1], "send") == 0 && argc == 5 && atoi(argv[3]) <= LARGEST) {
		if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
			err(1, "connect");
		prepare(atoi(argv[3]));
		printf("%f\n", send_for(fd, atof(argv[4])));
	} else {
		if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
			err(1, "bind");
		prepare(LARGEST);
		printf("%f\n", count_for(fd, atof(argv[3])));
	}
	return 0;
}
