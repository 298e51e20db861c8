# etl: the ELT stack inside PostgreSQL.  `make demo` and `make test` need nothing else first.
#
#   make demo           the reference pipeline, in a private throwaway cluster
#   make test           every test, in private throwaway clusters: regression, isolation, TAP, a short fuzz, the examples of the docs
#   make fuzz           libFuzzer on decoders, numbers and timestamps, FUZZ_SECONDS (60) each, and their coverage
#   make mutants        mistakes put into the rewriter of incremental models, each of which the property tests must find
#   make lint           format, warnings, cppcheck, is the reference complete
#   make soak           kill -9 of every kind of process, five hundred times, while files keep arriving
#   make bench          the figures of docs/performance.md (BENCH_SCALE=0.1 for a quick look)
#   make reference      writes docs/reference.md and the list of files in docs/architecture.md
#   make, make install, make installcheck      as every extension; PG_CONFIG selects the server
#   make deps           installs the Debian packages that all this needs

EXTENSION = etl
MODULE_big = etl
DATA = etl--1.0.sql
HEADERS_etl = src/include/etl_connector.h src/include/etl_part.h
PGFILEDESC = "etl - ELT inside PostgreSQL"
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c src/*/*/*.c)))
PG_CPPFLAGS = -Isrc -Isrc/include -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type
SHLIB_LINK = -lcurl -ljson-c -lzstd -llz4 -lz -lcrypto
REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
EXTRA_CLEAN = build log tmp_check $(wildcard src/*.d src/*/*.d src/*/*/*.d connectors/*/*.[od] etl_*$(DLSUFFIX))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

# JIT inlines expressions, not table access or network code: no bitcode, half the compile time.
override with_llvm = no

ifneq ($(and $(PGXS),$(wildcard $(PGXS))),)

include $(PGXS)

# The compiler notes which headers a file reads; one that changes compiles its readers again.
override CPPFLAGS += -MMD -MP
$(OBJS): Makefile | build/libraries.ok
-include $(wildcard $(OBJS:.o=.d))

# Parts that need a library of their own: etl_archive.so of connectors/archive/, and so on.  One whose
# headers are not there is left out; etl says so when it is needed.
PART_LIBS_archive = -larchive
PART_LIBS_pgp = -lgpgme -lgpg-error
PART_LIBS_xml = -lxml2
connectors/xml/%.o: override CPPFLAGS += -I/usr/include/libxml2
PARTS = $(shell CC="$(CC)" scripts/check-libraries --parts)
PART_FILES = $(PARTS:%=etl_%$(DLSUFFIX))
part_objects = $(patsubst %.c,%.o,$(sort $(wildcard connectors/$(1)/*.c)))

all: $(PART_FILES)
install: install-parts
uninstall: uninstall-parts

define part_rule
$(call part_objects,$(1)): $(wildcard connectors/$(1)/*.h src/include/*.h src/common/errors.h)
etl_$(1)$(DLSUFFIX): $(call part_objects,$(1))
	$(CC) $(CFLAGS) $$^ $(LDFLAGS) $(LDFLAGS_SL) -shared -o $$@ $(PART_LIBS_$(1))
endef
$(foreach part,$(PARTS),$(eval $(call part_rule,$(part))))

.PHONY: install-parts uninstall-parts
install-parts: $(PART_FILES) installdirs
	$(foreach file,$(PART_FILES),$(INSTALL_SHLIB) $(file) '$(DESTDIR)$(pkglibdir)/' &&) true
uninstall-parts:
	rm -f $(PART_FILES:%='$(DESTDIR)$(pkglibdir)/%')

build/libraries.ok:
	@CC="$(CC)" scripts/check-libraries
	@mkdir -p build && touch $@

# The install directories may belong to root while the caller does not.
AS_ROOT = $(shell test -w "$(pkglibdir)" || echo sudo)

.PHONY: ready
ready:
	@$(MAKE) -s --no-print-directory -j$$(nproc) all
	@$(AS_ROOT) $(MAKE) -s --no-print-directory PG_CONFIG="$(PG_CONFIG)" install

else

# Without the server's headers only `deps` can work; the other targets run it and start make again.
.DEFAULT_GOAL = all
.PHONY: all install installcheck uninstall clean ready
all install installcheck uninstall clean ready:
	@echo "etl: '$(PG_CONFIG) --pgxs' finds no PostgreSQL server headers: run 'make deps', or set PG_CONFIG" >&2
	@exit 1

endif

export PG_CONFIG

.PHONY: deps demo test fuzz mutants soak bench lint reference
deps:
	@scripts/deps

demo: deps
	@$(MAKE) -s --no-print-directory ready
	@scripts/with-cluster examples/retail/demo

test: deps
	@$(MAKE) -s --no-print-directory ready
	@scripts/with-cluster scripts/run-tests

FUZZ_SECONDS ?= 60

fuzz: deps
	@test/fuzz/libfuzzer $(FUZZ_SECONDS)

mutants: deps
	@$(MAKE) -s --no-print-directory ready
	@test/mutants/run --build
	@scripts/with-cluster test/mutants/run; status=$$?; rm -rf test/mutants/lib; exit $$status

soak: deps
	@$(MAKE) -s --no-print-directory ready
	@ETL_KILLS=500 ETL_TEST_SECONDS=7200 scripts/with-cluster scripts/run-tests test/t/106_worker_rotation.pl

bench: deps
	@$(MAKE) -s --no-print-directory ready
	@ETL_FSYNC=on ETL_PRELOAD=etl ETL_CONF='wal_compression = off' scripts/with-cluster bench/run

lint: deps
	@$(MAKE) -s --no-print-directory ready
	@scripts/lint

reference: deps
	@$(MAKE) -s --no-print-directory ready
	@mkdir -p build
	@scripts/with-cluster scripts/make-reference > build/reference.md
	@mv build/reference.md docs/reference.md
	@scripts/with-cluster scripts/make-shapes > build/modelling.md
	@mv build/modelling.md docs/modelling.md
	@scripts/list-files
