/*-------------------------------------------------------------------------
 *
 * part.c
 *    The loadable part etl_pgp: OpenPGP messages, by gpgme and gpg.
 *
 *-------------------------------------------------------------------------
 */
#include "pgp.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT const EtlPgpPart *etl_pgp_part(void);

static const EtlPgpPart part = {
	.abi_version = ETL_PART_ABI,
	.decrypt = decrypt_stream,
};

const EtlPgpPart *
etl_pgp_part(void)
{
	return &part;
}
