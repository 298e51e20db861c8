#!/usr/bin/env python3
"""generate.py writes the retail example's input and, beside it, the truth.

    generate.py DIRECTORY [--seed N] [--scale X] [--days N]

SEED, SCALE and DAYS in the environment are the defaults of the options.
The same seed, scale and days give the same bytes.  Written are

    day-N/transactions/DATE/part-NN.ndjson   what the shops deliver on day N
    day-N/users/users-DATE.csv               the user export of day N
    day-N/rates/rates-DATE.csv               the day's exchange rates
    products/day-N.ndjson                    what the product server knows from day N on
    truth.json                               what the pipeline must find after each day

The truth is kept while the records are made, from what each record was meant
to say.  No file is read back, and nothing of the extension is used.
"""
import argparse
import csv
import datetime
import json
import os
import random
import sys
from collections import Counter, defaultdict

BASE = datetime.date(2024, 3, 2)        # day 1; late rows reach back over the leap day
LATE_DAYS = 3
EPOCH = datetime.date(1970, 1, 1)

COUNTRIES = {
    'DE': ['Germany', 'DEU', 'Deutschland'],
    'FR': ['France', 'FRA'],
    'GB': ['United Kingdom', 'GBR', 'UK', 'Great Britain'],
    'US': ['United States', 'USA', 'U.S.A.'],
    'ES': ['Spain', 'ESP', 'Espa\u00f1a'],
    'IT': ['Italy', 'ITA', 'Italia'],
    'NL': ['Netherlands', 'NLD', 'Holland'],
    'PL': ['Poland', 'POL', 'Polska'],
    'JP': ['Japan', 'JPN'],
    'KR': ['Korea, Republic of', 'KOR', 'South Korea'],
    'BR': ['Brazil', 'BRA', 'Brasil'],
    'CA': ['Canada', 'CAN'],
}
AGE_GROUPS = ['18-24', '25-34', '35-44', '45-54', '55-64', '65+']
TIERS = ['bronze', 'silver', 'gold', 'platinum']
FIRST_NAMES = ['ada', 'alan', 'grace', 'edgar', 'barbara', 'donald', 'frances', 'ken', 'radia', 'niklaus']
LAST_NAMES = ['lovelace', 'turing', 'hopper', 'codd', 'liskov', 'knuth', 'allen', 'thompson', 'perlman']
DOMAINS = ['example.com', 'example.org', 'mail.example.net']
MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

CATEGORIES = ['electronics', 'books', 'toys', 'garden', 'clothing', 'sports', 'food', 'furniture']
MATERIALS = ['Oak', 'Steel', 'Cotton', 'Glass', 'Paper', 'Bamboo', 'Wool', 'Copper']
THINGS = ['Lamp', 'Chair', 'Notebook', 'Speaker', 'Bottle', 'Jacket', 'Kite', 'Spade', 'Puzzle', 'Mug']

CURRENCIES = {'USD': 1000000, 'EUR': 1085000, 'GBP': 1268000, 'JPY': 6650, 'CHF': 1131000, 'CAD': 737500}
CURRENCY_MIX = ['USD'] * 9 + ['EUR'] * 6 + ['GBP'] * 2 + ['JPY', 'CHF', 'CAD']
PAYMENT_METHODS = {
    'credit_card': ['Credit Card', 'CREDIT_CARD', 'credit-card'],
    'debit_card': ['Debit Card', 'debit-card'],
    'paypal': ['PayPal', 'PAYPAL'],
    'bank_transfer': ['Bank Transfer', 'bank-transfer '],
    'gift_card': ['Gift Card', 'GIFT CARD'],
}
STATUSES = ['completed'] * 16 + ['pending'] * 2 + ['refunded', 'failed']
LARGEST_CENTS = 10000000                # 100,000.00: the pipeline's upper bound of an amount

# Shares of a day's lines or of its proper transactions.
MALFORMED = 0.01
DUPLICATES = 0.03
LATE = 0.05


def seconds_of(day):
    return (day - EPOCH).days * 86400


def half_up(numerator, denominator):
    """Rounds like numeric does: half away from zero."""
    sign = -1 if (numerator < 0) != (denominator < 0) else 1
    numerator, denominator = abs(numerator), abs(denominator)
    return sign * ((2 * numerator + denominator) // (2 * denominator))


def decimal(value, digits=2):
    """An integer count of 10^-digits as text."""
    sign = '-' if value < 0 else ''
    whole, fraction = divmod(abs(value), 10 ** digits)
    return f'{sign}{whole}.{fraction:0{digits}d}'


def percent(part, whole):
    """100 * part / whole, two digits, as numeric rounds it; None of nothing."""
    return decimal(half_up(10000 * part, whole)) if whole else None


class Users:
    """The user exports: a full one on day 1, new and changed users later."""

    COLUMNS = ['email', 'registration_date', 'country', 'age_group', 'customer_tier']

    def __init__(self, seed, scale, days):
        self.random = random.Random(f'{seed}/users')
        self.first_count = max(50, round(50000 * scale))
        self.new_count = max(3, self.first_count // 100)
        self.days = [self.make_day(day) for day in range(1, days + 1)]

    def known_on(self, day):
        """User ids are 1..n; n after day 'day'."""
        return self.first_count + (day - 1) * self.new_count

    def roll(self, field, complete):
        """A number in [0, 1), spread evenly over every fifty rows of a day, so that no day is odd by chance."""
        if complete:
            return 0.04 + 0.96 * self.random.random()
        deck = self.decks.setdefault(field, [])
        if not deck:
            deck += [(place + self.random.random()) / 50 for place in range(50)]
            self.random.shuffle(deck)
        return deck.pop()

    def make_row(self, user_id, complete=False):
        """Returns (user_id, what the file says, what it means) of a user; complete: nothing is missing."""
        choose, chance = self.random.choice, self.random.random
        email = f'{choose(FIRST_NAMES)}.{choose(LAST_NAMES)}{user_id}@{choose(DOMAINS)}'
        roll = self.roll('email', complete)
        if roll < 0.03:
            emails = (None, None)
        elif roll < 0.035:
            email = email.replace('@', '(at)')
            emails = (email, email)
        elif roll < 0.15:
            emails = (email.title(), email)
        elif roll < 0.20:
            emails = (f' {email} ', email)
        else:
            emails = (email, email)

        registered = BASE - datetime.timedelta(days=1 + int(chance() * 1800))
        iso = registered.isoformat()
        roll = self.roll('registration_date', complete)
        if roll < 0.02:
            dates = (None, None)
        elif roll < 0.023:
            dates = ('n/a', None)
        elif roll < 0.35:
            dates = (f'{registered.day:02d}/{registered.month:02d}/{registered.year}', iso)
        elif roll < 0.65:
            dates = (f'{MONTHS[registered.month - 1]} {registered.day:02d}, {registered.year}', iso)
        else:
            dates = (iso, iso)

        code = choose(list(COUNTRIES))
        roll = self.roll('country', complete)
        if roll < 0.02:
            countries = (None, None)
        elif roll < 0.023:
            countries = ('Atlantis', None)
        elif roll < 0.5:
            countries = (code, code)
        elif roll < 0.6:
            countries = (code.lower(), code)
        else:
            name = choose(COUNTRIES[code])
            if name.isascii():
                name = choose([name, name, name.upper(), name.lower(), f' {name}'])
            countries = (name, code)

        group = choose(AGE_GROUPS)
        roll = self.roll('age_group', complete)
        groups = ((None, None) if roll < 0.02 else
                  (group.replace('-', ' - '), group) if roll < 0.1 else (group, group))
        tier = choose(TIERS)
        roll = self.roll('customer_tier', complete)
        tiers = ((None, 'bronze') if roll < 0.02 else
                 (tier.upper(), tier) if roll < 0.1 else
                 (tier.capitalize(), tier) if roll < 0.3 else (tier, tier))

        said, meant = zip(emails, dates, countries, groups, tiers)
        return user_id, said, meant

    def make_day(self, day):
        """Returns the lines of a day's file: rows, and texts that are no rows."""
        if day == 1:
            ids = list(range(1, self.first_count + 1))
        else:
            ids = list(range(self.known_on(day - 1) + 1, self.known_on(day) + 1))
            ids += self.random.sample(range(1, self.first_count + 1), self.new_count)
        self.decks = {}
        rows = [self.make_row(user_id) for user_id in ids]
        repeated = self.random.sample(rows, max(2, len(rows) // 50))
        rows += [row if self.random.random() < 0.5 else self.make_row(row[0], complete=True) for row in repeated]

        bad = []
        for number in range(max(1, len(rows) // 1000)):
            bad.append(('few', [str(number), 'too@few.example', '2024-01-01']))
            bad.append(('many', [str(number), 'a@b.example', '2024-01-01', 'DE', '18-24', 'gold', 'more', 'and more']))
            bad.append(('id', [f'x{number}', 'a@b.example', '2024-01-01', 'DE', '18-24', 'gold']))
            bad.append(('no_id', ['', 'nobody@example.com', '2024-01-01', 'DE', '18-24', 'gold']))
        lines = rows + bad
        self.random.shuffle(lines)
        return lines

    def write(self, path, day):
        with open(path, 'w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, lineterminator='\r\n' if day == 1 else '\n')
            writer.writerow(['user_id'] + self.COLUMNS)
            for line in self.days[day - 1]:
                if len(line) == 2:
                    writer.writerow(line[1])
                else:
                    writer.writerow([line[0], *('' if text is None else text for text in line[1])])


class Products:
    """What the product server tells: all products, and from day 2 on changes."""

    def __init__(self, seed, scale, days):
        self.random = random.Random(f'{seed}/products')
        self.count = max(300, round(10000 * scale))
        self.new_count = max(2, self.count // 200)
        self.made = 0                   # records so far; each fiftieth has no supplier
        self.records = {}               # product_id → newest record
        self.meaning = {}               # product_id → newest meaning
        self.listing = []               # product ids in the server's order, some twice
        self.days = []                  # records the server learns on a day, in its order
        self.history = []               # (product_id, updated_at, inventory) of each day
        self.usable = []                # ids with a proper price, after each day
        self.meanings = []              # product_id → meaning, after each day
        for day in range(1, days + 1):
            self.make_day(day)

    def known_on(self, day):
        return self.count + (day - 1) * self.new_count

    def make_record(self, number, day, price_kind):
        choose, chance = self.random.choice, self.random.random
        day_text = (BASE + datetime.timedelta(days=day - 1)).isoformat()
        second = int(chance() * 6 * 3600)
        name = f'{choose(MATERIALS)} {choose(THINGS)} {number}'
        category = choose(CATEGORIES)
        cents = 100 + int(chance() ** 2 * 50000)
        stock = int(chance() * 500)
        record = {
            'product_id': f'P{number:05d}',
            'name': f' {name} ' if chance() < 0.03 else name,
            'category': (category if chance() < 0.7 else
                         category.upper() if chance() < 0.5 else f'{category.title()} '),
        }
        if price_kind == 'good':
            record['price'] = decimal(cents) if chance() < 0.05 else cents / 100
        elif price_kind == 'zero':
            record['price'] = 0
            cents = 0
        else:
            record['price'] = None
            cents = None
        if chance() < 0.005:
            record['inventory_count'] = -1 - int(chance() * 5)
        else:
            record['inventory_count'] = stock
        self.made += 1
        record['supplier_id'] = None if self.made % 50 == 0 else f'S{int(chance() * 200):03d}'
        # A field that the first third of the listing does not have.
        if number > self.count // 3:
            record['discount_percent'] = int(chance() * 6) * 5
        record['updated_at'] = f'{day_text}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z'
        self.take(record, name, category, cents)

    def take(self, record, name, category, cents):
        product_id = record['product_id']
        self.records[product_id] = record
        self.meaning[product_id] = {
            'name': name, 'category': category, 'cents': cents,
            'stock': max(record['inventory_count'], 0), 'supplier': record['supplier_id'],
            'discount': record.get('discount_percent'),
            'said': (record['name'], record['category'], record['inventory_count']),
        }

    def make_day(self, day):
        if day == 1:
            changed = [f'P{number:05d}' for number in range(1, self.count + 1)]
            odd = self.random.sample(range(1, self.count + 1), max(4, self.count // 200))
            kinds = {number: ('missing', 'zero')[place % 2] for place, number in enumerate(odd)}
            for number in range(1, self.count + 1):
                self.make_record(number, day, kinds.get(number, 'good'))
            self.odd = [f'P{number:05d}' for number in odd]
            self.listing = list(changed)
            for product_id in self.random.sample(changed, max(2, self.count // 200)):
                place = self.random.randrange(len(self.listing) // 2, len(self.listing))
                self.listing.insert(place, product_id)
        else:
            fixed = self.odd[::2] if day == 2 else []
            sound = [product_id for product_id in self.records if product_id not in set(self.odd)]
            changed = self.random.sample(sound, self.count // 5) + fixed
            for product_id in changed:
                self.change(product_id, day)
            for number in range(self.known_on(day - 1) + 1, self.known_on(day) + 1):
                self.make_record(number, day, 'good')
                changed.append(f'P{number:05d}')
                self.listing.append(f'P{number:05d}')
        told = set(changed)
        records = [self.records[product_id] for product_id in self.listing if product_id in told]
        self.days.append(records)
        for product_id in changed:
            self.history.append((day, product_id, self.records[product_id]['updated_at'],
                                 self.meaning[product_id]['stock']))
        self.usable.append({key for key, value in self.meaning.items() if value['cents']})
        self.meanings.append({key: dict(value) for key, value in self.meaning.items()})

    def change(self, product_id, day):
        """A product's stock moves; one in eight gets a new price."""
        chance = self.random.random
        record, meaning = dict(self.records[product_id]), self.meaning[product_id]
        record['inventory_count'] = int(chance() * 500)
        cents = meaning['cents']
        if not cents or chance() < 0.125:
            cents = 100 + int(chance() ** 2 * 50000)
            record['price'] = cents / 100
        second = int(chance() * 6 * 3600)
        day_text = (BASE + datetime.timedelta(days=day - 1)).isoformat()
        record['updated_at'] = f'{day_text}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z'
        self.take(record, meaning['name'], meaning['category'], cents)

    def write(self, path, day):
        with open(path, 'w', encoding='utf-8') as file:
            for record in self.days[day - 1]:
                file.write(json.dumps(record) + '\n')


class Rates:
    """What one unit of a currency is worth in USD, in millionths, per day."""

    def __init__(self, seed, days):
        choice = random.Random(f'{seed}/rates')
        self.by_day = {}
        for offset in range(-LATE_DAYS, days):
            day = BASE + datetime.timedelta(days=offset)
            self.by_day[day] = {
                code: rate if code == 'USD' else rate + int((choice.random() - 0.5) * rate / 50)
                for code, rate in CURRENCIES.items()}

    def days_of(self, day):
        today = BASE + datetime.timedelta(days=day - 1)
        first = today - datetime.timedelta(days=LATE_DAYS) if day == 1 else today
        return [one for one in self.by_day if first <= one <= today]

    def write(self, path, day):
        with open(path, 'w', encoding='utf-8') as file:
            file.write('rate_date,currency,rate_to_usd\n')
            for one in self.days_of(day):
                for code, rate in self.by_day[one].items():
                    file.write(f'{one.isoformat()},{code},{decimal(rate, 6)}\n')


# A transaction while it is made: what its line says, and what that means.
# 'cents', 'currency', 'method' None: said nothing, or nothing understandable.
class Transaction:
    __slots__ = ('id', 'user', 'product', 'cents', 'amount', 'currency', 'currency_said',
                 'second', 'time', 'method', 'method_said', 'status', 'status_said', 'landing')

    def line(self):
        return (f'{{"transaction_id":"{self.id}","user_id":{self.user},"product_id":"{self.product}",'
                f'"amount":{self.amount},"currency":{self.currency_said},"timestamp":"{self.time}",'
                f'"payment_method":{self.method_said},"status":"{self.status_said}"}}')

    def copy(self):
        other = Transaction()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other


class Transactions:
    """A day's lines, in several files, with everything that goes wrong in them."""

    MALFORMED_KINDS = ('truncated', 'noise', 'quote', 'encoding', 'array', 'nul', 'timestamp', 'user', 'no_id')

    def __init__(self, seed, scale, days, users, products):
        self.seed, self.users, self.products = seed, users, products
        self.count = max(200, round(100000 * scale))
        self.earlier = []
        self.days = [self.make_day(day) for day in range(1, days + 1)]

    def time_text(self, chance, second):
        """The same instant in one of four spellings."""
        roll = chance()
        moved = second + 7200 if roll < 0.1 else second
        days, rest = divmod(moved, 86400)
        day = self.day_text.get(days)
        if day is None:
            day = self.day_text[days] = (EPOCH + datetime.timedelta(days=days)).isoformat()
        clock = f'{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}'
        if roll < 0.1:
            return f'{day}T{clock}+02:00'
        if roll < 0.15:
            return f'{day} {clock}'
        if roll < 0.2:
            return f'{day}T{clock}.000Z'
        return f'{day}T{clock}Z'

    def make_proper(self, choice, day, count):
        """Returns 'count' transactions without a flaw of their own."""
        chance = choice.random
        today = BASE + datetime.timedelta(days=day - 1)
        start, tag = seconds_of(today), today.strftime('%m%d')
        users, products = self.users.known_on(day), self.products.known_on(day)
        methods = list(PAYMENT_METHODS)
        made = []
        for number in range(count):
            one = Transaction()
            one.id = f'T{tag}-{number:06d}'
            one.user = 1 + int(chance() * chance() * users)
            one.product = f'P{1 + int(chance() * chance() * products):05d}'
            one.cents = 100 + int(chance() ** 4 * 200000)
            one.amount = decimal(one.cents)
            if one.cents % 10 == 0:
                one.amount = f'"{one.amount}"'
            one.currency = CURRENCY_MIX[int(chance() * 20)]
            roll = chance()
            one.currency_said = (f'"{one.currency}"' if roll < 0.92 else
                                 f'"{one.currency.lower()}"' if roll < 0.97 else f'" {one.currency}"')
            late = 1 + int(chance() * LATE_DAYS) if chance() < LATE else 0
            one.second = start - late * 86400 + int(chance() * 86400)
            one.time = self.time_text(chance, one.second)
            one.method = methods[int(chance() * 5)]
            roll = chance()
            if roll < 0.01:
                one.method, one.method_said = None, 'null'
            elif roll < 0.015:
                one.method, one.method_said = None, '""'
            elif roll < 0.2:
                variants = PAYMENT_METHODS[one.method]
                one.method_said = f'"{variants[int(chance() * len(variants))]}"'
            else:
                one.method_said = f'"{one.method}"'
            one.status = STATUSES[int(chance() * 20)]
            one.status_said = one.status if chance() < 0.9 else one.status.upper()
            one.landing = None
            made.append(one)
        return made

    def spoil(self, choice, day, made):
        """Gives some transactions a flaw, each kind an exact number of times."""
        def part(share):
            return max(1, round(len(made) * share))
        flaws = [('amount_text', part(0.001)), ('amount_null', part(0.001)), ('amount_negative', part(0.0015)),
                 ('amount_zero', part(0.001)), ('amount_huge', part(0.001)),
                 ('currency_unknown', part(0.002)), ('currency_word', part(0.001)),
                 ('currency_empty', part(0.001)), ('currency_null', part(0.001)),
                 ('both', part(0.0005)), ('user_never', part(0.002)), ('product_never', part(0.002))]
        if day < len(self.users.days) or day == 1:
            flaws.append(('user_tomorrow', part(0.001)))
        picked = choice.sample(made, sum(count for _, count in flaws))
        for flaw, count in flaws:
            for place in range(count):
                one = picked.pop()
                if flaw == 'amount_text':
                    one.cents, one.amount, one.landing = None, choice.choice(['"abc"', '"12,50"', '"n/a"']), 'amount'
                elif flaw == 'amount_null':
                    one.cents, one.amount = None, 'null'
                elif flaw in ('amount_negative', 'both'):
                    one.cents = -one.cents
                    one.amount = decimal(one.cents)
                elif flaw == 'amount_zero':
                    one.cents, one.amount = 0, '0.00'
                elif flaw == 'amount_huge':
                    one.cents = 999999900
                    one.amount = decimal(one.cents)
                elif flaw == 'currency_word':
                    one.currency, one.currency_said = 'EURO', '"Euro"'
                elif flaw == 'currency_empty':
                    one.currency, one.currency_said = None, '""'
                elif flaw == 'currency_null':
                    one.currency, one.currency_said = None, 'null'
                elif flaw == 'user_never':
                    one.user = 900000000 + place
                elif flaw == 'product_never':
                    one.product = f'X{place:05d}'
                elif flaw == 'user_tomorrow':
                    one.user = self.users.known_on(day) + 1 + place % self.users.new_count
                if flaw in ('currency_unknown', 'both'):
                    one.currency, one.currency_said = 'XXX', '"XXX"'

    def malformed(self, choice, number, model):
        """Returns (kind, bytes) of a line that cannot land."""
        kind = self.MALFORMED_KINDS[number % len(self.MALFORMED_KINDS)]
        one = model.copy()
        one.id = f'M{number:06d}'
        if kind == 'timestamp':
            one.time = choice.choice(['2024-13-45T10:00:00Z', '2024-02-30T10:00:00Z', 'soon'])
        elif kind == 'user':
            one.user = f'"u-{number}"'
        line = one.line().encode()
        if kind == 'truncated':
            line = line[:choice.randrange(5, len(line) - 1)]
        elif kind == 'noise':
            line = b'ERROR upstream timed out after 30000 ms'
        elif kind == 'quote':
            line = line.replace(b'"currency"', b'currency"')
        elif kind == 'encoding':
            line = line.replace(b'"status":"', b'"status":"\xff\xfe')
        elif kind == 'array':
            line = b'["' + one.id.encode() + b'",' + str(number).encode() + b']'
        elif kind == 'nul':
            line = line.replace(b'"status":"', b'"status":"\\u0000')
        elif kind == 'no_id':
            line = line.replace(f'"transaction_id":"{one.id}",'.encode(), b'')
        return kind, line

    def make_day(self, day):
        """Returns a day's lines in the order of their delivery: (bytes, transaction or kind of reject)."""
        choice = random.Random(f'{self.seed}/transactions/{day}')
        self.day_text = {}
        malformed = max(len(self.MALFORMED_KINDS), round(self.count * MALFORMED))
        repeated = max(3, round(self.count * DUPLICATES))
        made = self.make_proper(choice, day, self.count - malformed - repeated)
        self.spoil(choice, day, made)

        landed = [one for one in made if not one.landing]
        copies = choice.sample(landed, repeated if day == 1 else repeated - repeated // 3)
        if day > 1:
            copies += choice.sample(self.earlier, repeated // 3)
        for number, one in enumerate(copies):
            one = copies[number] = one.copy()
            if one.status == 'pending' and choice.random() < 0.5:
                one.status = one.status_said = 'completed'

        self.earlier = landed
        lines = [(one.line().encode(), one) for one in made + copies]
        for number in range(malformed):
            kind, line = self.malformed(choice, number, landed[number % len(landed)])
            lines.append((line, kind))
        choice.shuffle(lines)
        return lines

    def write(self, directory, day):
        lines = self.days[day - 1]
        files = 8 if len(lines) >= 8000 else 3
        os.makedirs(directory)
        for number in range(files):
            part = lines[len(lines) * number // files:len(lines) * (number + 1) // files]
            with open(f'{directory}/part-{number:02d}.ndjson', 'wb') as file:
                file.write(b'\n'.join(line for line, _ in part) + b'\n')


def difference(said, meant):
    """How the audit log calls the step from what a source said to what is kept."""
    if said == meant:
        return None
    return 'emptied' if meant is None else 'filled' if said is None else 'standardised'


class Truth:
    """The figures that the pipeline must show after a day."""

    def __init__(self, day, users, products, rates, transactions):
        self.figures = {}
        self.audit = Counter()
        self.day, self.rates = day, rates
        self.count_users(users)
        self.count_products(products)
        self.put('raw.exchange_rates', 'rows', 6 * sum(len(rates.days_of(one)) for one in range(1, day + 1)))
        self.count_transactions(transactions)
        self.count_daily()
        self.count_user_analytics()
        self.count_product_performance()
        self.count_financial_report()
        for (relation, column, change), count in self.audit.items():
            self.put('clean.audit_log', f'{relation} {column} {change}', count)
        self.put('clean.audit_log', 'rows', sum(self.audit.values()))

    def put(self, relation, figure, value):
        self.figures[f'{relation}: {figure}'] = None if value is None else str(value)

    def put_groups(self, relation, figure, counter):
        for key, value in counter.items():
            self.put(relation, f'{figure} {"(none)" if key is None else key}', value)

    def count_users(self, users):
        landed, newest, bad = 0, {}, Counter()
        for day in range(self.day):
            for line in users.days[day]:
                if len(line) == 2:
                    bad[line[0]] += 1
                else:
                    landed += 1
                    newest[line[0]] = line
        self.users = {user_id: meant for user_id, _, meant in newest.values()}
        for _, said, meant in newest.values():
            for column, before, after in zip(users.COLUMNS, said, meant):
                change = difference(before, after)
                if change:
                    self.audit['clean.users', column, change] += 1
        self.audit['clean.users', '-', 'superseded'] = landed - len(newest)
        self.put('raw.users', 'rows', landed)
        self.put('raw.users', 'rows read', landed + sum(bad.values()))
        self.put('raw.users', 'rejects', sum(bad.values()))
        self.put('raw.users', 'rejects of user_id', bad['id'] + bad['no_id'])
        self.put('clean.users', 'rows', len(self.users))
        rows = list(self.users.values())
        for place, column in enumerate(users.COLUMNS[:4]):
            self.put('clean.users', f'without {column}', sum(row[place] is None for row in rows))
        self.put('clean.users', 'malformed email', sum(row[0] is not None and '@' not in row[0] for row in rows))
        dates = [row[1] for row in rows if row[1]]
        self.put('clean.users', 'first registration', min(dates))
        self.put('clean.users', 'last registration', max(dates))
        self.put_groups('clean.users', 'registered in', Counter(date[:4] for date in dates))
        self.put_groups('clean.users', 'country', Counter(row[2] for row in rows))
        self.put_groups('clean.users', 'age group', Counter(row[3] for row in rows))
        self.put_groups('clean.users', 'tier', Counter(row[4] for row in rows))

    def count_products(self, products):
        landed = sum(len(products.days[day]) for day in range(self.day))
        told = products.meanings[self.day - 1]
        usable = products.usable[self.day - 1]
        self.products = {key: value for key, value in told.items() if key in usable}
        per_day = [Counter(record['product_id'] for record in products.days[day]) for day in range(self.day)]
        self.put('raw.products', 'rows', landed)
        self.put('raw.products', 'rows read', landed)
        self.put('raw.products', 'with discount_percent',
                 sum('discount_percent' in record for day in range(self.day) for record in products.days[day]))
        self.put('clean.products', 'rows', len(self.products))
        self.put('clean.products', 'rejects', len(told) - len(usable))
        self.put('clean.products', 'rejects not_null_price', sum(one['cents'] is None for one in told.values()))
        self.put('clean.products', 'rejects range_price', sum(one['cents'] == 0 for one in told.values()))
        rows = list(self.products.values())
        self.put('clean.products', 'sum of price', decimal(sum(row['cents'] for row in rows)))
        self.put('clean.products', 'sum of inventory', sum(row['stock'] for row in rows))
        self.put('clean.products', 'without supplier', sum(row['supplier'] is None for row in rows))
        self.put('clean.products', 'without discount', sum(row['discount'] is None for row in rows))
        self.put('clean.products', 'sum of discount', sum(row['discount'] or 0 for row in rows))
        self.put_groups('clean.products', 'category', Counter(row['category'] for row in rows))
        for key, row in self.products.items():
            for column, before, after in zip(('name', 'category', 'inventory_count'), row['said'],
                                             (row['name'], row['category'], row['stock'])):
                change = difference(before, after)
                if change:
                    self.audit['clean.products', column, change] += 1
            self.audit['clean.products', '-', 'superseded'] += sum(one[key] for one in per_day) - 1

        last, history, moved, distance = {}, 0, 0, 0
        for day, key, _, stock in products.history:
            if day <= self.day and key in usable:
                history += 1
                if key in last:
                    moved += 1
                    distance += stock - last[key]
                last[key] = stock
        self.put('clean.inventory_history', 'rows', history)
        self.put('clean.inventory_history', 'with a predecessor', moved)
        self.put('clean.inventory_history', 'sum of changes', distance)
        self.put('clean.inventory_history', 'current inventory', sum(last.values()))

    def count_transactions(self, transactions):
        landed, read, bad, newest, copies = 0, 0, Counter(), {}, Counter()
        for day in range(self.day):
            for _, one in transactions.days[day]:
                read += 1
                if isinstance(one, str):
                    bad[one] += 1
                elif one.landing:
                    bad[one.landing] += 1
                else:
                    landed += 1
                    newest[one.id] = one
                    copies[one.id] += 1
        rejects = sum(bad.values())
        self.put('raw.transactions', 'rows read', read)
        self.put('raw.transactions', 'rows', landed)
        self.put('raw.transactions', 'rejects', rejects)
        self.put('raw.transactions', 'rejects of amount', bad['amount'])
        self.put('raw.transactions', 'rejects of timestamp', bad['timestamp'])
        self.put('raw.transactions', 'rejects of user_id', bad['user'])
        self.put('raw.transactions', 'rejects of transaction_id', bad['no_id'])

        reasons, refused, self.sales = Counter(), 0, []
        for one in newest.values():
            flaws = []
            if one.cents is None:
                flaws.append('not_null_amount')
            elif not 1 <= one.cents <= LARGEST_CENTS:
                flaws.append('range_amount')
            if one.currency is None:
                flaws.append('not_null_currency')
            elif one.currency not in CURRENCIES:
                flaws.append('accepted_values_currency')
            if one.user not in self.users:
                flaws.append('not_null_user_id')
            if one.product not in self.products:
                flaws.append('not_null_product_id')
            if flaws:
                refused += 1
                reasons.update(flaws)
            else:
                self.sales.append(one)
        self.put('clean.transactions', 'rows', len(self.sales))
        self.put('clean.transactions', 'rejects', refused)
        for reason in ('not_null_amount', 'range_amount', 'not_null_currency', 'accepted_values_currency',
                       'not_null_user_id', 'not_null_product_id'):
            self.put('clean.transactions', f'rejects {reason}', reasons[reason])
        money, counts, methods, statuses = Counter(), Counter(), Counter(), Counter()
        for one in self.sales:
            money[one.currency] += one.cents
            counts[one.currency] += 1
            methods[one.method] += 1
            statuses[one.status] += 1
            for column, before, after in (('currency', one.currency_said.strip('"'), one.currency),
                                          ('status', one.status_said, one.status)):
                if before != after:
                    self.audit['clean.transactions', column, 'standardised'] += 1
            said = None if one.method_said == 'null' else one.method_said.strip('"')
            change = difference(said, one.method)
            if change:
                self.audit['clean.transactions', 'payment_method', change] += 1
            self.audit['clean.transactions', '-', 'superseded'] += copies[one.id] - 1
        for code, cents in money.items():
            self.put('clean.transactions', f'amount in {code}', decimal(cents))
        self.put_groups('clean.transactions', 'currency', counts)
        self.put_groups('clean.transactions', 'payment method', methods)
        self.put_groups('clean.transactions', 'status', statuses)

        # What every mart is made of: (transaction, its day, its amount in US cents).
        days = {(day - EPOCH).days: day for day in self.rates.by_day}
        self.sold = []
        for one in self.sales:
            day = days[one.second // 86400]
            usd = half_up(one.cents * self.rates.by_day[day][one.currency], 1000000)
            self.sold.append((one, day, usd))
        self.put('mart.sales', 'rows', len(self.sold))
        self.put('mart.sales', 'sum of amount_usd', decimal(sum(usd for _, _, usd in self.sold)))

    def count_daily(self):
        days = defaultdict(list)
        for sale in self.sold:
            days[sale[1]].append(sale)
        relation = 'mart.daily_sales_summary'
        self.put(relation, 'rows', len(days))
        for day, sales in days.items():
            done = [sale for sale in sales if sale[0].status == 'completed']
            net = sum(usd for _, _, usd in done)
            self.put(relation, f'{day} transactions', len(sales))
            self.put(relation, f'{day} completed', len(done))
            self.put(relation, f'{day} net_usd', decimal(net))
            self.put(relation, f'{day} average_ticket_usd', decimal(half_up(net, len(done))) if done else None)
            self.put(relation, f'{day} buyers', len({one.user for one, _, _ in done}))
            self.put(relation, f'{day} payment_known_pct',
                     percent(sum(one.method is not None for one, _, _ in sales), len(sales)))

    def count_user_analytics(self):
        net, tries, done, last = Counter(), Counter(), Counter(), {}
        for one, _, usd in self.sold:
            tries[one.user] += 1
            last[one.user] = max(last.get(one.user, 0), one.second)
            if one.status == 'completed':
                done[one.user] += 1
                net[one.user] += usd
        relation = 'mart.user_analytics'
        segments = Counter('vip' if net[user] >= 200000 else 'regular' if net[user] >= 50000 else
                           'occasional' if net[user] > 0 else 'inactive' for user in self.users)
        self.put(relation, 'rows', len(self.users))
        self.put(relation, 'with a sale', len(done))
        self.put(relation, 'transactions', sum(tries.values()))
        self.put(relation, 'net_usd', decimal(sum(net.values())))
        self.put(relation, 'most spent', decimal(max(net.values())))
        best = min(net, key=lambda user: (-net[user], user))
        self.put(relation, 'best user', best)
        self.put(relation, 'best user last sale', last[best])
        self.put_groups(relation, 'segment', segments)
        complete = sum(25 * sum(field is not None for field in row[:4]) for row in self.users.values())
        self.put(relation, 'profile completeness', decimal(half_up(100 * complete, len(self.users))))
        by_country = Counter()
        for user, cents in net.items():
            by_country[self.users[user][2]] += cents
        for country, cents in by_country.items():
            self.put(relation, f'net_usd of {country or "(none)"}', decimal(cents))

    def count_product_performance(self):
        net, done, back = Counter(), Counter(), Counter()
        buyers = defaultdict(set)
        for one, _, usd in self.sold:
            if one.status == 'completed':
                net[one.product] += usd
                done[one.product] += 1
                buyers[one.product].add(one.user)
            elif one.status == 'refunded':
                back[one.product] += 1
        relation = 'mart.product_performance'
        self.put(relation, 'rows', len(self.products))
        self.put(relation, 'units_sold', sum(done.values()))
        self.put(relation, 'refunds', sum(back.values()))
        self.put(relation, 'net_usd', decimal(sum(net.values())))
        self.put(relation, 'buyers', sum(len(one) for one in buyers.values()))
        self.put(relation, 'never sold', sum(not done[product] for product in self.products))
        rates = 0
        categories, leaders = Counter(), {}
        for product, row in self.products.items():
            decided = done[product] + back[product]
            rates += half_up(10000 * back[product], decided) if decided else 0
            categories[row['category']] += net[product]
            rank = (-net[product], product)
            leaders[row['category']] = min(leaders.get(row['category'], rank), rank)
        self.put(relation, 'sum of refund_pct', decimal(rates))
        for category, cents in categories.items():
            self.put(relation, f'net_usd of {category}', decimal(cents))
            self.put(relation, f'leader of {category}', leaders[category][1])

    def count_financial_report(self):
        groups = defaultdict(list)
        for one, day, usd in self.sold:
            groups[f'{day:%Y-%m}', one.currency].append((one, usd))
        relation = 'mart.financial_report'
        self.put(relation, 'rows', len(groups))
        total = Counter()
        net = {}
        for (month, code), sales in groups.items():
            net[month, code] = sum(usd for one, usd in sales if one.status == 'completed')
            total[month] += net[month, code]
        for (month, code), sales in groups.items():
            name = f'{month} {code}'
            self.put(relation, f'{name} net', decimal(sum(one.cents for one, _ in sales if one.status == 'completed')))
            self.put(relation, f'{name} net_usd', decimal(net[month, code]))
            self.put(relation, f'{name} refunds_usd',
                     decimal(sum(usd for one, usd in sales if one.status == 'refunded')))
            self.put(relation, f'{name} share_pct', percent(net[month, code], total[month]))


def generate(directory, seed, scale, days):
    users = Users(seed, scale, days)
    products = Products(seed, scale, days)
    rates = Rates(seed, days)
    transactions = Transactions(seed, scale, days, users, products)

    os.makedirs(f'{directory}/products', exist_ok=True)
    for day in range(1, days + 1):
        date = (BASE + datetime.timedelta(days=day - 1)).isoformat()
        folder = f'{directory}/day-{day}'
        os.makedirs(f'{folder}/users')
        os.makedirs(f'{folder}/rates')
        transactions.write(f'{folder}/transactions/{date}', day)
        users.write(f'{folder}/users/users-{date}.csv', day)
        rates.write(f'{folder}/rates/rates-{date}.csv', day)
        products.write(f'{directory}/products/day-{day}.ndjson', day)

    after = {day: Truth(day, users, products, rates, transactions).figures for day in range(1, days + 1)}
    with open(f'{directory}/truth.json', 'w', encoding='utf-8') as file:
        json.dump({'seed': seed, 'scale': scale, 'days': days, 'after': after}, file, indent=1)
        file.write('\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('directory')
    parser.add_argument('--seed', default=os.environ.get('SEED', '1'))
    parser.add_argument('--scale', type=float, default=float(os.environ.get('SCALE', '1')))
    parser.add_argument('--days', type=int, default=int(os.environ.get('DAYS', '2')))
    arguments = parser.parse_args()
    if arguments.scale <= 0 or arguments.days < 1:
        parser.error('SCALE must be positive and DAYS at least 1')
    if os.path.exists(f'{arguments.directory}/truth.json'):
        sys.exit(f'generate.py: {arguments.directory} holds generated data already')
    generate(arguments.directory, arguments.seed, arguments.scale, arguments.days)


if __name__ == '__main__':
    main()
