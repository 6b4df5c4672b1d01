"""Every fixed text of an SMS, in English and French: the one place to change a wording, or to add a language."""

from __future__ import annotations

from collections.abc import Mapping

from notifier.sms.encoding import Encoding, encode, shorten

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "acknowledged": "{by} has it: #{number} {title}",
        "escalated": "{by} passed it on: #{number} {title}",
        "closed": "{by} closed #{number} {title}",
        "no_incident": "No open incident #{number}.",
        "nothing_open": "Nothing that you were paged for is open.",
        "resolved_already": "#{number} is resolved already.",
        "has_it": "{by} has #{number} already. To take it over: take {number}",
        "you_have": "You have #{number} {title}.",
        "you_have_all": "You have {count}: {numbers}.",
        "still_open": "Open: {counts}. Reply all for the rest.",
        "repeated": "Received twice, counted once.",
        "you_closed": "#{number} is closed.",
        "passed_on": "#{number} is passed on.",
        "nobody_further": "#{number}: nobody further to page.",
        "credits": "Notifier: {amount} credits spent within {per}, the limit. Only critical pages go now.",
        "operator": "Notifier: {problem}",
        "silenced": "#{number} silenced by {by} until {time}: {title}",
        "silenced_for_now": "#{number} silenced by {by}: {title}",
        "inhibited": "#{number} inhibited in Alertmanager: {title}",
        "muted": "#{number} is muted until {time}.",
        "not_muted": "#{number} was not muted: {reason}",
        "on_call": "On call: {people}",
        "nobody_on_call": "{schedule} nobody",
        "until": "{schedule} {contact} until {time}",
        "not_paged": "You were not paged for #{number}: nothing was done.",
        "not_allowed": "That cannot be done by SMS here.",
        "code_missing": "Nothing was done: add the two letters after the number in the page, as in 7KP.",
        "code_locked": "Nothing was done: too many replies without the letters of the page. Use the pages.",
        "help": "Reply: ack, all, next, who, or with a number: 7, 7 next, close 7.",
        "help_mute": "Reply: ack, all, next, who, or with a number: 7, 7 next, close 7, mute 7 2h.",
        "call": "{severity} alert number {number}: {title}. Press any key to acknowledge.",
        "late": "LATE {late}: ",
        "firing": "FIRING",
        "update": "UPDATE",
        "reminder": "STILL FIRING",
        "resolved": "RESOLVED",
        "since": "since",
        "digest_firing": "{count} more alerts: ",
        "digest_firing_one": "1 more alert: ",
        "digest_resolved": "resolved {count}: ",
        "digest_resolved_one": "resolved 1: ",
        "digest_more": "+{count} more kinds",
        "digest_more_one": "+1 more kind",
        "digest_takes_all": "all{code} takes all",
        "not_seen": "not seen for {unseen}: Prometheus, Alertmanager or the network between them is down",
        "not_seen_while_down": "not seen for {unseen}; Notifier itself was down for {down} of it",
        "months": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    },
    "fr": {
        "acknowledged": "{by} s'en charge : #{number} {title}",
        "escalated": "{by} passe la main : #{number} {title}",
        "closed": "{by} a clos #{number} {title}",
        "no_incident": "Pas d'incident #{number} en cours.",
        "nothing_open": "Rien de ce qui vous a été signalé n'est en cours.",
        "resolved_already": "#{number} est déjà résolu.",
        "has_it": "{by} a déjà pris #{number}. Pour le reprendre : take {number}",
        "you_have": "À vous : #{number} {title}.",
        "you_have_all": "À vous : {count} ({numbers}).",
        "still_open": "En cours : {counts}. Répondez tout pour le reste.",
        "repeated": "Reçu deux fois, compté une fois.",
        "you_closed": "#{number} est clos.",
        "passed_on": "#{number} est transmis.",
        "nobody_further": "#{number} : plus personne à prévenir.",
        "credits": "Notifier : {amount} crédits en {per}, la limite. Seules les alertes critical partent encore.",
        "operator": "Notifier : {problem}",
        "silenced": "#{number} mis en sourdine par {by} jusqu'à {time} : {title}",
        "silenced_for_now": "#{number} mis en sourdine par {by} : {title}",
        "inhibited": "#{number} inhibé dans Alertmanager : {title}",
        "muted": "#{number} est en sourdine jusqu'à {time}.",
        "not_muted": "#{number} n'a pas été mis en sourdine : {reason}",
        "on_call": "D'astreinte : {people}",
        "nobody_on_call": "{schedule} personne",
        "until": "{schedule} {contact} jusqu'à {time}",
        "not_paged": "Vous n'avez pas été prévenu de #{number} : rien n'est fait.",
        "not_allowed": "Cela ne se fait pas par SMS ici.",
        "code_missing": "Rien n'est fait : ajoutez les deux lettres après le numéro de l'alerte, comme 7KP.",
        "code_locked": "Rien n'est fait : trop de réponses sans les lettres de l'alerte. Passez par les pages.",
        "help": "Répondez : ack, tout, next, who, ou avec un numéro : 7, 7 next, close 7.",
        "help_mute": "Répondez : ack, tout, next, who, ou avec un numéro : 7, 7 next, close 7, mute 7 2h.",
        "call": "Alerte {severity} numéro {number} : {title}. Appuyez sur une touche pour la prendre en charge.",
        "late": "RETARD {late} : ",
        "firing": "ALERTE",
        "update": "SUITE",
        "reminder": "TOUJOURS",
        "resolved": "RESOLU",
        "since": "depuis",
        "digest_firing": "{count} autres alertes : ",
        "digest_firing_one": "1 autre alerte : ",
        "digest_resolved": "{count} résolues : ",
        "digest_resolved_one": "1 résolue : ",
        "digest_more": "+{count} autres sortes",
        "digest_more_one": "+1 autre sorte",
        "digest_takes_all": "tout{code} les prend toutes",
        "not_seen": "plus vu depuis {unseen} : Prometheus, Alertmanager ou le réseau entre eux est en panne",
        "not_seen_while_down": "plus vu depuis {unseen} ; Notifier lui-même était arrêté pendant {down}",
        "months": "janv févr mars avr mai juin juil août sept oct nov déc",
    },
}


def phrase(name: str, language: str, **values: object) -> str:
    """Return the fixed text *name* in *language*, or in English if it is not translated.

    Raises:
        KeyError: there is no text of that name, or a value is missing.
    """
    return TEXTS.get(language, TEXTS["en"])[name].format(**values)


def counted_phrase(name: str, language: str, count: int) -> str:
    """Return the fixed text *name* of *count* things in *language*.

    Raises:
        KeyError: there is no text of that name.
    """
    return phrase(f"{name}_one" if count == 1 else name, language, count=count)


def notice(name: str, language: str, **values: object) -> str:
    """Return the fixed text *name* as a message of its own: in the GSM alphabet, within one part.

    Raises:
        KeyError: there is no text of that name, or a value is missing.
    """
    return shorten(encode(phrase(name, language, **values), Encoding.GSM), 1)


def spoken(language: str, number: int, severity: str, title: str) -> str:
    """Return the text that is read on the phone, twice: who was woken by it misses the beginning."""
    text = " ".join(phrase("call", language, severity=severity, number=number, title=title).split())
    return f"Notifier. {text} {text}"
