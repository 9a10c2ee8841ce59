/* Prints what getaddrinfo gives for one name, an address a line; where it gives nothing, its error code (EAI_...) and exit code 1. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found;
	char text[INET6_ADDRSTRLEN];
	int code;

	if (argc != 2)
		return 2;
	code = getaddrinfo(argv[1], NULL, &hints, &found);
	if (code) {
		printf("error %d\n", code);
		fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(code));
		return 1;
	}
	for (struct addrinfo *one = found; one; one = one->ai_next) {
		const void *address = one->ai_family == AF_INET
			? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
			: (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
		puts(inet_ntop(one->ai_family, address, text, sizeof text));
	}
	freeaddrinfo(found);
	return 0;
}
