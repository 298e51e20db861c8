# Which shapes of queries were compared with what they must be, after which events.  An event counts for a model only where it
# changed what the model reads, no other event of the same step did, and the model had something to do about it.
#
#	my $coverage = Etl::Coverage->new(kinds => [ 'grouped' ], events => [ 'new facts' ]);
#	$coverage->begin_history(@shapes);            the models that there are, each a hash with name, kind and query
#	$coverage->begin_step;
#	$coverage->touch('new facts', 'f');           what an event changes; upset: so that readers may have to begin anew
#	$coverage->holds('f', 'a digest');            what an input holds after the step
#	$coverage->compared($shape, 'incremental');   what the step did with a model
#	$coverage->empty;                             cells of shape and event in which nothing was compared
package Etl::Coverage;
use strict;
use warnings;

use List::Util qw(any uniq);
use Test::More;

# new begins with nothing compared yet; kinds and events are the cells that there are.
sub new
{
	my ($class, %cells) = @_;

	return bless { kinds => $cells{kinds}, events => $cells{events}, cell => {}, comparisons => 0, incremental => 0, full => 0 }, $class;
}

# begin_history forgets the relations of the former one.
sub begin_history
{
	my ($self, @shapes) = @_;

	$self->{shapes} = { map { $_->{name} => $_ } @shapes };
	$self->{held} = {};
	$self->{late} = [];
	$self->{upset} = {};
	$self->{reads} = {};
	return;
}

# begin_step forgets what the former step changed, but for what only this one sees.
sub begin_step
{
	my ($self) = @_;

	$self->{touched} = {};
	# what was made anew beside a writer begins to follow him with the next step
	$self->{upset} = {} if !@{ $self->{late} };
	$self->{changed} = {};
	$self->{reads} = {};
	$self->touch(@$_) for splice(@{ $self->{late} });
	return;
}

# touch notes that an event changes relations; models among them are built by the event itself.
sub touch
{
	my ($self, $event, @relations) = @_;

	$self->{touched}{$_}{$event} = 1 for @relations;
	return;
}

# upset notes a change after which the relations, and whatever reads them, may be built in full.
sub upset
{
	my ($self, $event, @relations) = @_;

	$self->touch($event, @relations);
	$self->{upset}{$_} = 1 for @relations;
	return;
}

# later notes what an event changes as the next step will see it.
sub later
{
	my ($self, $event, @relations) = @_;

	push @{ $self->{late} }, [ $event, @relations ] if @relations;
	return;
}

# is_touched says whether something changes an input in this step.
sub is_touched
{
	my ($self, $relation) = @_;

	return defined $self->{touched}{$relation} ? 1 : 0;
}

# is_upset says whether something made a relation begin anew, in this step.
sub is_upset
{
	my ($self, $relation) = @_;

	return defined $self->{upset}{$relation};
}

# holds compares what an input holds with what it held after the former step.
sub holds
{
	my ($self, $input, $digest) = @_;

	$self->{changed}{$input} = ($self->{held}{$input} // '') ne $digest;
	$self->{held}{$input} = $digest;
	return;
}

# reads returns the relations that a model's result follows from, at whatever distance.
sub reads
{
	my ($self, $name) = @_;
	my $query = $self->{shapes}{$name} && $self->{shapes}{$name}{query};

	return () if !$query;
	$self->{reads}{$name} //= [ uniq(map { ($_, $self->reads($_)) } $query =~ /\bh\d+\.(\w+)/g) ];
	return @{ $self->{reads}{$name} };
}

# may_refresh says whether a model may be built in full in this step.
sub may_refresh
{
	my ($self, $shape) = @_;

	return any { $self->{upset}{$_} } $shape->{name}, $self->reads($shape->{name});
}

# compared notes what a step did with a model that was then compared with its query.
sub compared
{
	my ($self, $shape, $action) = @_;
	my ($name, $kind) = @{$shape}{ 'name', 'kind' };
	my %effective;

	for my $relation ($name, $self->reads($name))
	{
		my @events = keys %{ $self->{touched}{$relation} // {} };

		$self->{cell}{$kind}{$_}{compared}{ $self->{comparisons} } = 1 for @events;
		next if @events != 1;
		# its own rebuilding happened already; all else must have given it something to do
		$effective{ $events[0] } = 1
		  if $relation eq $name ? ($events[0] eq 'refresh' || $action ne 'unchanged') : ($self->{changed}{$relation} && $action ne 'unchanged');
	}
	for my $event (keys %effective)
	{
		$self->{cell}{$kind}{$event}{effective}++;
		$self->{cell}{$kind}{$event}{incremental}++ if $action eq 'incremental';
	}
	$self->{comparisons}++;
	$self->{$action}++ if $action ne 'unchanged';
	return;
}

# empty returns the cells in which no event had an effect.
sub empty
{
	my ($self) = @_;

	return map {
		my $kind = $_;
		map { "$kind × $_" } grep { !$self->{cell}{$kind}{$_}{effective} } @{ $self->{events} }
	} @{ $self->{kinds} };
}

# comparisons returns how many models were compared with their queries so far.
sub comparisons { return $_[0]->{comparisons}; }

# print_table prints, for each shape and event, how many comparisons followed an effect of the event, and what the steps did.
sub print_table
{
	my ($self) = @_;

	diag("$self->{comparisons} cases: $self->{incremental} incremental, $self->{full} full, the others had nothing to do");
	diag('shape, and after each event: followed incrementally / compared after the event had an effect / compared');
	for my $kind (@{ $self->{kinds} })
	{
		diag(sprintf('%-18s %s', $kind, join('; ', map {
			my $cell = $self->{cell}{$kind}{$_} // {};
			sprintf('%s %d/%d/%d', $_, $cell->{incremental} // 0, $cell->{effective} // 0, scalar(keys %{ $cell->{compared} // {} }))
		} @{ $self->{events} })));
	}
	return;
}

1;
