/*-------------------------------------------------------------------------
 *
 * version.h
 *    Every version of every definition, and which project it belongs to.
 *
 * Called by the stores of definitions in catalog/, by model/ and by run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_VERSION_H
#define ETL_VERSION_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* An argument of a define function, and the column that keeps it. */
typedef struct EtlDefinitionArg
{
	const char *name;
	const char *column;			/* NULL: the same */
	char		type;			/* 't' text and whatever is written as one, 'a' text[], 'j' jsonb */
	const char *without;		/* not written when it is this JSON text; NULL: when it is null */
} EtlDefinitionArg;

/* A kind of definition. */
typedef struct EtlDefinitionKind
{
	const char *name;
	const char *table;			/* etl.<table> */
	const char *key;			/* column of its name */
	const char *part;			/* column of the name within that, NULL: none */
	const char *hidden;			/* text[] literal: columns that are state, or secret */
	const EtlDefinitionArg *args;	/* of etl.define_<name> */
} EtlDefinitionKind;

extern const EtlDefinitionKind etl_definition_kinds[];	/* ended by a NULL name, in the order of a script */
extern const EtlDefinitionKind *etl_definition_kind(const char *name);

/*
 * etl_defined notes what became of a definition ("created", "updated",
 * "unchanged") and returns it: a new version goes into the history, and the
 * project that the session deploys has it.  'part' is NULL but for checks
 * and unit tests.
 */
extern const char *etl_defined(const char *kind, const char *name, const char *part,
							   const char *outcome);
/* what the next versions say of their coming about instead, such as "rolled back to 3"; NULL: nothing */
extern const char *etl_version_change;
/* notes that a definition goes; to be called while it is there */
extern void etl_undefined(const char *kind, const char *name, const char *part);

typedef struct EtlVersion
{
	int			version;
	char	   *change;
	char	   *owner;
	Jsonb	   *definition;
} EtlVersion;

/* one version; NULL: there is none */
extern EtlVersion *etl_version_find(const char *kind, const char *name, int version);
/* are two versions the same definition? */
extern bool etl_version_same(const char *kind, const char *name, int a, int b);
/* the newest one before 'version' that is a definition */
extern EtlVersion *etl_version_before(const char *kind, const char *name, int version);

/* A definition as it is now; what stands in its options in clear text and should not is ***. */
typedef struct EtlDefined
{
	const EtlDefinitionKind *kind;
	char	   *name;
	char	   *part;
	char	   *owner;
	Jsonb	   *definition;
	bool		redacted;
} EtlDefined;

extern List *etl_definitions_all(const EtlDefinitionKind *kind);	/* EtlDefined *, by name */

/* ---- script.c ---- */

/* a call of the define function that gives this definition */
extern char *etl_definition_sql(const char *kind, const Jsonb *definition);
/* a literal that reads the same under every setting; long texts in dollars */
extern char *etl_script_literal(const char *text);

#endif							/* ETL_VERSION_H */
