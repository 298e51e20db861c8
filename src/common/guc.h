/*-------------------------------------------------------------------------
 *
 * guc.h
 *    The settings of etl, read by every module.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_GUC_H
#define ETL_GUC_H

extern char *etl_allowed_directories;	/* comma-separated; empty: none */
extern char *etl_allowed_hosts; /* comma-separated; private addresses only when listed */
extern char *etl_secret_key_file;
extern char *etl_environment;
extern bool
	etl_environment_of_session; /* said by the session or its client, not by the server's configuration */
extern char *etl_project;		/* number and name of the deployment at work; empty: none */
extern char *etl_params;		/* jsonb text: the run's parameters */
extern char *etl_test_now;		/* the clock that schedules and retries read */
extern char *etl_tls_ca_file;	/* empty: the authorities of the operating system */
extern int etl_history_max_age_min;	/* 0: for ever */
extern int etl_history_max_runs;	/* 0: all */
extern int etl_history_max_entries;	/* of each other kind; 0: all */
extern int etl_max_record_size_kb;
extern int etl_max_workers;		/* task workers of the whole server */
extern int etl_parallel_load_min_kb;	/* smaller files are landed by one process */
extern int etl_parallel_load_block_kb;	/* what two processes hand over at a time */
extern int etl_publish_lock_timeout_ms;
extern int etl_run_timeout_ms;	/* of the runs that this session asks for; 0: none */
extern bool etl_adopt_roles;
extern bool etl_log_json;

extern void etl_guc_define(void);

#endif							/* ETL_GUC_H */
