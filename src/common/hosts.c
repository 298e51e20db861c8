/*-------------------------------------------------------------------------
 *
 * hosts.c
 *    Judging hosts and addresses against lists of allowed hosts.
 *
 * A host is allowed by its name; the address that it resolves to is judged
 * again when the connection is made, so that a name of the outside world
 * cannot lead to the inside.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/hosts.h"

typedef struct HostPort
{
	const char *host;
	int			length;
	const char *port;			/* NULL: none */
	int			port_length;
} HostPort;

typedef struct Network4
{
	uint32		address;
	int			bits;
} Network4;

/* what is not the public Internet: RFC 6890 and what cloud providers put there */
static const Network4 closed4[] = {
	{0x00000000, 8},  {0x0A000000, 8},	{0x64400000, 10}, {0x7F000000, 8},	{0xA9FE0000, 16},
	{0xAC100000, 12}, {0xC0000000, 24}, {0xC0000200, 24}, {0xC0586300, 24}, {0xC0A80000, 16},
	{0xC6120000, 15}, {0xC6336400, 24}, {0xCB007100, 24}, {0xE0000000, 4},	{0xF0000000, 4},
	{0xA83F8110, 32}			/* 168.63.129.16, Azure */
};

/*
 * cut splits "host:port", without brackets, spaces and a final dot.
 */
static HostPort
cut(const char *text, int length)
{
	HostPort	result = {0};
	const char *end = text + length;
	const char *colon = NULL;
	const char *bracket = NULL;
	int			colons = 0;

	while (text < end && (*text == ' ' || *text == '\t'))
		text++;
	while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	for (const char *p = text; p < end; p++)
	{
		if (*p == ':')
		{
			colon = p;
			colons++;
		}
		else if (*p == ']')
			bracket = p;
	}

	/* a bare IPv6 address has many colons and no port */
	if (colon != NULL && (bracket ? colon > bracket : colons == 1))
	{
		result.port = colon + 1;
		result.port_length = end - result.port;
		end = colon;
	}
	if (end - text >= 2 && *text == '[' && end[-1] == ']')
	{
		text++;
		end--;
	}
	if (end > text && end[-1] == '.')
		end--;
	result.host = text;
	result.length = end - text;
	return result;
}

/*
 * entry_match compares one entry of a list with a host.
 */
static EtlHostMatch
entry_match(const HostPort *entry, const HostPort *host)
{
	if (entry->length == 0)
		return ETL_HOST_NO;
	if (entry->port != NULL &&
		(host->port == NULL || entry->port_length != host->port_length ||
		 memcmp(entry->port, host->port, entry->port_length) != 0))
		return ETL_HOST_NO;
	if (entry->length == 1 && entry->host[0] == '*')
		return ETL_HOST_BY_STAR;
	if (entry->length > 2 && entry->host[0] == '*' && entry->host[1] == '.')
	{
		int			suffix = entry->length - 1;

		return host->length > suffix &&
					   pg_strncasecmp(host->host + host->length - suffix, entry->host + 1, suffix) == 0 ?
				   ETL_HOST_LISTED :
				   ETL_HOST_NO;
	}
	return entry->length == host->length &&
				   pg_strncasecmp(entry->host, host->host, host->length) == 0 ?
			   ETL_HOST_LISTED :
			   ETL_HOST_NO;
}

EtlHostMatch
etl_host_match(const char *list, const char *host)
{
	HostPort	wanted = cut(host, strlen(host));
	EtlHostMatch best = ETL_HOST_NO;

	if (wanted.length == 0)
		return ETL_HOST_NO;
	while (list != NULL && *list)
	{
		int			length = strcspn(list, ",");
		HostPort	entry = cut(list, length);

		best = Max(best, entry_match(&entry, &wanted));
		list += length;
		if (*list == ',')
			list++;
	}
	return best;
}

/*
 * is_public4 judges an IPv4 address in host byte order.
 */
static bool
is_public4(uint32 address)
{
	for (int i = 0; i < lengthof(closed4); i++)
	{
		uint32		mask = 0xFFFFFFFF << (32 - closed4[i].bits);

		if ((address & mask) == closed4[i].address)
			return false;
	}
	return true;
}

/*
 * is_public6 judges an IPv6 address: only 2000::/3 without its special
 * parts, and IPv4 inside IPv6 by the inner address.
 */
static bool
is_public6(const uint8 *a)
{
	static const uint8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
	static const uint8 translated[12] = {0, 0x64, 0xFF, 0x9B};
	uint32		first = ((uint32) a[0] << 24) | (a[1] << 16) | (a[2] << 8) | a[3];

	if (memcmp(a, mapped, 12) == 0 || memcmp(a, translated, 12) == 0)
		return is_public4(((uint32) a[12] << 24) | (a[13] << 16) | (a[14] << 8) | a[15]);
	if ((first >> 29) != 1)
		return false;
	return (first & 0xFFFFFE00) != 0x20010000 &&	/* 2001::/23 */
		   first != 0x20010DB8 &&
		   (first >> 16) != 0x2002 &&
		   (first & 0xFFFFF000) != 0x3FFF0000;
}

bool
etl_address_is_public(const void *sockaddr)
{
	const struct sockaddr *address = sockaddr;

	if (address->sa_family == AF_INET)
		return is_public4(ntohl(((const struct sockaddr_in *) sockaddr)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return is_public6(((const struct sockaddr_in6 *) sockaddr)->sin6_addr.s6_addr);
	return false;
}

bool
etl_address_text(const void *sockaddr, char *buffer, size_t size)
{
	const struct sockaddr *address = sockaddr;
	char		text[INET6_ADDRSTRLEN];

	if (address->sa_family == AF_INET)
	{
		const struct sockaddr_in *v4 = sockaddr;

		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
		snprintf(buffer, size, "%s:%d", text, ntohs(v4->sin_port));
		return true;
	}
	if (address->sa_family == AF_INET6)
	{
		const struct sockaddr_in6 *v6 = sockaddr;

		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
		snprintf(buffer, size, "[%s]:%d", text, ntohs(v6->sin6_port));
		return true;
	}
	return false;
}
