/*-------------------------------------------------------------------------
 *
 * errors.h
 *    The SQLSTATE class ET.  Every file that reports an error includes it.
 *
 * A code says what a caller can do about it, not where it happened: retry
 * policies and the reference are keyed on them.  docs/reference.md lists
 * each one; scripts/check-reference compares the two.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_ERRORS_H
#define ETL_ERRORS_H

#include "utils/elog.h"

/* a definition is wrong: unknown option, bad value, bad combination */
#define ETL_ERR_DEFINITION		 MAKE_SQLSTATE('E', 'T', '0', '0', '1')
/* no such source, stream, model, check, secret, run */
#define ETL_ERR_UNDEFINED		 MAKE_SQLSTATE('E', 'T', '0', '0', '2')
/* models depend on each other in a circle */
#define ETL_ERR_CYCLE			 MAKE_SQLSTATE('E', 'T', '0', '0', '3')
/* outside the allowed hosts, directories or file kinds */
#define ETL_ERR_NOT_ALLOWED		 MAKE_SQLSTATE('E', 'T', '0', '0', '4')
/* the source does not answer: connection, TLS, timeout */
#define ETL_ERR_UNREACHABLE		 MAKE_SQLSTATE('E', 'T', '0', '0', '5')
/* the source answers with an error status */
#define ETL_ERR_HTTP_STATUS		 MAKE_SQLSTATE('E', 'T', '0', '0', '6')
/* the source's answer makes no sense: paging loop, broken envelope, corrupt archive */
#define ETL_ERR_PROTOCOL		 MAKE_SQLSTATE('E', 'T', '0', '0', '7')
/* an answer or record is larger than its limit */
#define ETL_ERR_TOO_LARGE		 MAKE_SQLSTATE('E', 'T', '0', '0', '8')
/* more rejects than max_rejects */
#define ETL_ERR_TOO_MANY_REJECTS MAKE_SQLSTATE('E', 'T', '0', '0', '9')
/* the schema policy freezes what the source changed */
#define ETL_ERR_SCHEMA_FROZEN	 MAKE_SQLSTATE('E', 'T', '0', '1', '0')
/* a fail check failed, or could not be evaluated */
#define ETL_ERR_CHECK_FAILED	 MAKE_SQLSTATE('E', 'T', '0', '1', '1')
/* at least one task of a run failed */
#define ETL_ERR_RUN_FAILED		 MAKE_SQLSTATE('E', 'T', '0', '1', '2')
/* a relation, or what depends on it, is not managed by etl */
#define ETL_ERR_NOT_MANAGED		 MAKE_SQLSTATE('E', 'T', '0', '1', '3')
/* a source must be waited for inside a transaction block */
#define ETL_ERR_IN_TRANSACTION	 MAKE_SQLSTATE('E', 'T', '0', '1', '4')
/* a secret cannot be stored, read or used */
#define ETL_ERR_SECRET			 MAKE_SQLSTATE('E', 'T', '0', '1', '5')
/* a file that was loaded has changed, and on_change is error */
#define ETL_ERR_FILE_CHANGED	 MAKE_SQLSTATE('E', 'T', '0', '1', '6')
/* accounting of a load does not close: a bug of etl, nothing was committed */
#define ETL_ERR_ACCOUNTING		 MAKE_SQLSTATE('E', 'T', '0', '1', '7')
/* a model's inputs do not exist yet */
#define ETL_ERR_UNRESOLVED		 MAKE_SQLSTATE('E', 'T', '0', '1', '8')
/* the publication lock could not be had in time */
#define ETL_ERR_PUBLISH_LOCK	 MAKE_SQLSTATE('E', 'T', '0', '1', '9')
/* a full refresh would lose rows that the target holds and its inputs have no more */
#define ETL_ERR_HORIZON			 MAKE_SQLSTATE('E', 'T', '0', '2', '0')
/* a row lies outside of the interval that is built, or in none */
#define ETL_ERR_INTERVAL		 MAKE_SQLSTATE('E', 'T', '0', '2', '1')

#endif							/* ETL_ERRORS_H */
