/*-------------------------------------------------------------------------
 *
 * etl.c
 *    What happens when PostgreSQL loads the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "common/guc.h"
#include "quality/quality.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	etl_guc_define();
	etl_quality_register_options();
}
