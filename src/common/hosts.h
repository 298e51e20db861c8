/*-------------------------------------------------------------------------
 *
 * hosts.h
 *    Judging hosts and addresses against lists of allowed hosts.
 *
 * Called by the connector services and by secrets.  Nothing here allocates
 * or raises: the address rules run inside a callback of libcurl.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HOSTS_H
#define ETL_HOSTS_H

#include "postgres.h"

typedef enum EtlHostMatch
{
	ETL_HOST_NO,				/* not in the list */
	ETL_HOST_BY_STAR,			/* only because of a bare * */
	ETL_HOST_LISTED				/* named, or by *.suffix */
} EtlHostMatch;

/*
 * etl_host_match looks 'host' up in a comma-separated list of host,
 * host:port, [v6], [v6]:port, *.suffix and *.  'host' may carry a port; an
 * entry without one allows every port.
 */
extern EtlHostMatch etl_host_match(const char *list, const char *host);

/* false for loopback, private, link-local, multicast, reserved and translated-to-such addresses */
extern bool etl_address_is_public(const void *sockaddr);

/* numeric text "address:port" or "[v6]:port"; returns false when the family is unknown */
extern bool etl_address_text(const void *sockaddr, char *buffer, size_t size);

#endif							/* ETL_HOSTS_H */
