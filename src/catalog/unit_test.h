/*-------------------------------------------------------------------------
 *
 * unit_test.h
 *    Unit tests of models, as they are stored.
 *
 * Called by model/ and run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_UNIT_TEST_H
#define ETL_UNIT_TEST_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct EtlUnitTest
{
	char	   *target;			/* canonical */
	char	   *name;
	Jsonb	   *given;			/* an object of the rows of each input, or an array of them: one for each run */
	Jsonb	   *expect;			/* an object: query, table, error */
	Jsonb	   *options;
	char	   *description;
	char	   *owner;
	int			version;
} EtlUnitTest;

extern const char *etl_unit_test_store(const EtlUnitTest *test);	/* created | updated | unchanged */
extern EtlUnitTest *etl_unit_test_find(const char *target, const char *name);
extern List *etl_unit_tests_of(const char *target);	/* EtlUnitTest *, by name */

/* a schema for the duration of a subtransaction that is rolled back, of a role */
extern void etl_scratch_schema(const char *name, const char *owner);
/* a statement that makes what is not there for as long; as the owner of the extension */
extern void etl_scratch_make(const char *statement);

#endif							/* ETL_UNIT_TEST_H */
