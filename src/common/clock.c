/*-------------------------------------------------------------------------
 *
 * clock.c
 *    The clock that schedules, SLAs and retries read.
 *
 * Tests set etl.test_now and step it by hand.  Waiting for a socket or for
 * a back-off always uses the real clock: a frozen one would never end it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "common/clock.h"
#include "common/guc.h"

TimestampTz
etl_now(void)
{
	if (etl_test_now == NULL || etl_test_now[0] == '\0')
		return GetCurrentTimestamp();
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(etl_test_now),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}
