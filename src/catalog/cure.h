/*-------------------------------------------------------------------------
 *
 * cure.h
 *    Finding the statements that end a failure; only remedy.c includes it.
 *
 * A cure looks into the catalogs for what the error is about.  It returns
 * statements that all end with ";", or sentences that name what it found,
 * or NULL when it has nothing to say.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CURE_H
#define ETL_CURE_H

#include "catalog/definition.h"
#include "catalog/remedy.h"
#include "common/names.h"

/* A failure, and the definitions it is about; NULL where there is none. */
typedef struct EtlCase
{
	const EtlFailure *failure;
	EtlName    *name;
	EtlModel   *model;
	EtlStream  *stream;
	EtlSource  *source;
	const char *owner;
	char	   *subject;		/* the first text in quotation marks of the message: a path, URL, name */
	char	   *host;			/* of that URL */
} EtlCase;

typedef char *(*EtlCure)(const EtlCase *);

extern char *etl_cure_schema(const EtlCase *failed);
extern char *etl_cure_grants(const EtlCase *failed);
extern char *etl_cure_server_files(const EtlCase *failed);
extern char *etl_cure_owner(const EtlCase *failed);
extern char *etl_cure_inputs(const EtlCase *failed);
extern char *etl_cure_columns(const EtlCase *failed);
extern char *etl_cure_types(const EtlCase *failed);
extern char *etl_cure_unique(const EtlCase *failed);
extern char *etl_cure_lock(const EtlCase *failed);
extern char *etl_cure_dependent(const EtlCase *failed);
extern char *etl_cure_frozen(const EtlCase *failed);
extern char *etl_cure_file(const EtlCase *failed);
extern char *etl_cure_horizon(const EtlCase *failed);
extern char *etl_cure_directories(const EtlCase *failed);
extern char *etl_cure_hosts(const EtlCase *failed);
extern char *etl_cure_space(const EtlCase *failed);
extern char *etl_cure_secret(const EtlCase *failed);
extern char *etl_cure_again(const EtlCase *failed);

#endif							/* ETL_CURE_H */
