# etl: the ELT stack inside PostgreSQL.  `make demo` and `make test` need nothing else first.

EXTENSION = etl
MODULE_big = etl
DATA = etl--1.0.sql
HEADERS_etl = src/include/etl_connector.h
PGFILEDESC = "etl - ELT inside PostgreSQL"
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c src/*/*/*.c)))
PG_CPPFLAGS = -Isrc -Isrc/include -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type
SHLIB_LINK = -lcurl -ljson-c -lzstd -lz -lcrypto
REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
include $(PGXS)

# Headers are few: when one changes, everything is compiled again.
$(OBJS): $(wildcard src/*/*.h src/*/*/*.h)
