/*-------------------------------------------------------------------------
 *
 * services.c
 *    What the core does for connectors: secrets, egress rules, JSON facts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/clock.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/hosts.h"
#include "connector/connector.h"
#include "connector/paths.h"
#include "decode/decode.h"
#include "secret/secret.h"

static char *
service_secret(EtlConnectorContext *context, const char *name, const char *host)
{
	return etl_secret_open(context->context, name, host);
}

static void
service_check_host(const char *host)
{
	if (etl_host_match(etl_allowed_hosts, host) != ETL_HOST_NO)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_NOT_ALLOWED),
			 errmsg("host \"%s\" is not among the allowed hosts", host),
			 errdetail("Setting etl.allowed_hosts is \"%s\".",
					   etl_allowed_hosts ? etl_allowed_hosts : ""),
			 errhint("A superuser can add the host to etl.allowed_hosts.")));
}

/*
 * service_address_allowed runs inside a callback of libcurl: it neither
 * allocates nor raises.
 */
static bool
service_address_allowed(const char *host, const void *sockaddr, int length)
{
	char		text[80];
	EtlHostMatch match = etl_host_match(etl_allowed_hosts, host);

	if (match == ETL_HOST_LISTED)
		return true;
	if (match == ETL_HOST_NO || !etl_address_text(sockaddr, text, sizeof(text)))
		return false;
	return etl_address_is_public(sockaddr) ||
		   etl_host_match(etl_allowed_hosts, text) == ETL_HOST_LISTED;
}

static void
service_check_path(EtlConnectorContext *context, const char *real_path)
{
	etl_path_check(context->owner, real_path);
}

static const EtlServices services = {
	.secret = service_secret,
	.check_host = service_check_host,
	.address_allowed = service_address_allowed,
	.check_path = service_check_path,
	.json_facts = etl_json_facts,
	.now = etl_now,
};

const EtlServices *
etl_connector_services(void)
{
	return &services;
}
