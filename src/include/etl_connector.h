/*-------------------------------------------------------------------------
 *
 * etl_connector.h
 *    The public connector ABI.
 *
 * A connector knows one kind of outside system.  It is a C function that
 * returns a const EtlConnector *, registered by a row in etl.connectors that
 * names an SQL function "f(internal) RETURNS internal".  The built-in
 * connectors use nothing else.
 *
 * What a connector never does: touch SPI or the executor, commit, sleep,
 * poll, or keep a handle that its state's memory context does not free.  To
 * wait it returns ETL_WAIT with what it waits for; the core waits, with no
 * transaction open, and calls again.  It may raise errors and palloc in
 * 'context', but never inside a callback of a foreign library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CONNECTOR_H
#define ETL_CONNECTOR_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define ETL_CONNECTOR_ABI 1

/* One option key.  Arrays of these end with a NULL name. */
typedef struct EtlOptionDef
{
	const char *name;
	const char *type;			/* text text[] integer boolean size duration threshold object any, or a|b|c */
	const char *default_value;	/* shown; NULL: none */
	const char *description;
} EtlOptionDef;

typedef enum EtlShape
{
	ETL_BYTES,					/* hands out bytes; a decoder makes records */
	ETL_RECORDS					/* hands out typed records (later connectors) */
} EtlShape;

typedef enum EtlPoll
{
	ETL_READY,					/* 'item' (or bytes) is there */
	ETL_WAIT,					/* call again when 'wait' is satisfied */
	ETL_END						/* nothing more */
} EtlPoll;

#define ETL_MAX_SOCKETS 16

/* What a connector waits for: any of the sockets, or the moment, whichever is first. */
typedef struct EtlWait
{
	int			nsockets;
	int			sockets[ETL_MAX_SOCKETS];
	uint32		events[ETL_MAX_SOCKETS];	/* WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE */
	TimestampTz until;			/* DT_NOEND: only the sockets */
	char	   *reason;			/* "retrying in 4 s after HTTP 503", for progress; may be NULL */
	char	   *failure;		/* once, before something that failed is tried again: what failed */
	int			failure_code;	/* the SQLSTATE of it */
} EtlWait;

/* One piece of input: a file, or a response page.  Allocated by the connector. */
typedef struct EtlItem
{
	char	   *origin;			/* shown to users: file path, or URL without secrets */
	int64		size;			/* bytes as stored, -1 unknown */
	TimestampTz mtime;			/* files; DT_NOBEGIN if none */
	char	   *records_path;	/* JSON path of the records inside the document; NULL: top level */
	Jsonb	   *position;		/* where the stream continues once this item is committed; may be NULL */
	bool		own_load;		/* each item is a load of its own (files); else consecutive items share one */
	void	   *handle;			/* the connector's */
} EtlItem;

/* What the core knows of a file that was loaded before. */
typedef struct EtlSeenFile
{
	char	   *origin;
	int64		size;
	TimestampTz mtime;
	char	   *hash;
} EtlSeenFile;

/* What a JSON page held, as etl's own streaming reader saw it. */
typedef struct EtlJsonFacts
{
	bool		valid;			/* the document was well-formed to its end */
	bool		found;			/* something stands at records_path, be it null or empty */
	int64		records;		/* elements at records_path */
	char	  **values;			/* text of the value at each asked path, NULL when absent or null */
	char	   *max_field;		/* greatest value of max_path among the records, NULL when none */
} EtlJsonFacts;

typedef struct EtlRead
{
	/* reads up to 'size' bytes of one body into 'buffer'; 0 at its end */
	size_t		(*read) (void *arg, char *buffer, size_t size);
	void	   *arg;
} EtlRead;

typedef struct EtlConnectorContext EtlConnectorContext;

/* Services of the core, so that a connector needs no private door. */
typedef struct EtlServices
{
	/*
	 * the plaintext of {"secret": name}: valid until the state is closed;
	 * raises ET015, also when 'host' is not among the secret's allowed hosts
	 * (NULL: not asked).  The core wipes it.
	 */
	char *(*secret)(EtlConnectorContext *context, const char *name, const char *host);
	/* raises ET004 unless etl.allowed_hosts lets sources reach this host name */
	void		(*check_host) (const char *host);
	/* true when this resolved address may be connected to for 'host' */
	bool		(*address_allowed) (const char *host, const void *sockaddr, int length);
	/* raises ET004/42501 unless the owner may read server files under this real path */
	void		(*check_path) (EtlConnectorContext *context, const char *real_path);
	/* scans one JSON document; 'paths' are dotted JSON paths, 'max_path' is relative to a record */
	EtlJsonFacts *(*json_facts)(EtlRead *body, const char *records_path, int npaths,
								const char *const *paths, const char *max_path);
	/* the clock that tests can set */
	TimestampTz (*now) (void);
} EtlServices;

struct EtlConnectorContext
{
	MemoryContext context;		/* lives as long as the state; allocate here */
	const char *source;			/* name of the source */
	const char *stream;			/* canonical name of the stream */
	const char *owner;			/* role that everything is checked as */
	const char *format;			/* "csv", "json", "ndjson" */
	const Jsonb *source_options;
	const Jsonb *stream_options;
	const Jsonb *position;		/* committed position; NULL at the first pull */
	const EtlServices *services;
};

typedef struct EtlConnector
{
	uint32		abi_version;	/* ETL_CONNECTOR_ABI */
	const char *name;
	EtlShape	shape;
	bool		needs_network;	/* the core opens no transaction while it polls */
	const EtlOptionDef *source_options;
	const EtlOptionDef *stream_options;

	/* raises ET001 for option values that the tables above cannot judge */
	void		(*validate) (const Jsonb *source_options, const Jsonb *stream_options,
					 const char *format);	/* stream_options NULL: only the source is defined */

	/* begins a pull; returns its state */
	void *(*open)(EtlConnectorContext *context);

	/* the next item, or what to wait for; bytes of earlier items stay readable until 'release' */
	EtlPoll		(*next) (void *state, EtlItem **item, EtlWait *wait);

	/* bytes of an item, from its beginning after 'rewind'; 0 at its end.  Never waits. */
	size_t		(*read) (void *state, EtlItem *item, char *buffer, size_t size);
	void		(*rewind) (void *state, EtlItem *item);
	void		(*release) (void *state, EtlItem *item);

	/* position to commit when the pull came to its end (after the last item); NULL: none */
	Jsonb *(*final_position)(void *state);

	void		(*close) (void *state);

	/* what an item brought is committed and flushed: archive or delete it; NULL: nothing to do */
	void		(*done) (void *state, EtlItem *item);

	/* what the user should know of this pull, "2 files are still being written"; NULL: nothing */
	char *(*remark)(void *state);
} EtlConnector;

typedef const EtlConnector *(*EtlConnectorHandler)(void);

#endif							/* ETL_CONNECTOR_H */
