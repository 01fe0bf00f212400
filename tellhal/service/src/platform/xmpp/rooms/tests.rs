//! Rooms against a scripted server that does what real ones only do on bad days.

use tokio::sync::oneshot;

use super::super::stanza::tests::settings;
use super::*;
use crate::platform::stage::Stage;

const ROOM: &str = "ops@c.x";

struct Script<'a> {
    rooms: Rooms<'a>,
    now: Instant,
}

type Answer = oneshot::Receiver<Result<Sent, Failure>>;

impl Script<'_> {
    fn new(settings: &Settings) -> Script<'_> {
        Script { rooms: Rooms::new(settings), now: Instant::now() }
    }

    /// A room that we are in and that a listener wants, with ids that nobody can forge.
    fn inside(settings: &Settings) -> Script<'_> {
        let mut script = Script::new(settings);
        script.rooms.want(&Muc::new(ROOM, None).unwrap(), script.now);
        script.answer(
            "disco#info",
            "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:sid:0'/></query>",
        );
        script.own_presence("hal");
        script.written();
        script
    }

    /// The stanzas written since the last look, as XML.
    fn written(&mut self) -> String {
        let out = self.rooms.out.drain(..);
        out.map(|stanza| String::from_utf8(xso::to_vec(&stanza).unwrap()).unwrap())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn hear(&mut self, xml: &str) {
        let xml = xml.replacen(' ', " xmlns='jabber:client' ", 1);
        self.rooms.hear(&xml.parse().unwrap(), false, self.now).unwrap();
    }

    /// Answers the last question whose stanza has `part`.
    fn answer(&mut self, part: &str, payload: &str) {
        let written = self.written();
        let question = written
            .lines()
            .rfind(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part} in {written}"));
        let question: Element = question.parse().unwrap();
        let (to, id) = (question.attr("to").unwrap().replace('\'', "&apos;"), question.attr("id").unwrap());
        let kind = if payload.starts_with("<error") { "error" } else { "result" };
        self.hear(&format!("<iq from='{to}' id='{id}' type='{kind}'>{payload}</iq>"));
    }

    fn say(&mut self, id: &str) -> Answer {
        let (reply, answer) = oneshot::channel();
        let target = Target::Room(Muc::new(ROOM, None).unwrap());
        let say = Say {
            target,
            id: id.into(),
            text: id.into(),
            replaces: None,
            stage: Stage::default().into(),
            reply,
        };
        self.rooms.say(say, self.now);
        answer
    }

    fn own_presence(&mut self, nick: &str) {
        self.hear(&presence(nick, "", "<status code='110'/>"));
    }

    fn reflect(&mut self, nick: &str, id: &str) {
        self.hear(&format!(
            "<message from='{ROOM}/{nick}' id='{id}' type='groupchat'><body>x</body>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='s-{id}'/></message>"
        ));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.rooms.look(self.now);
    }

    fn heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.rooms.heard)
    }
}

fn presence(nick: &str, attrs: &str, inside: &str) -> String {
    format!(
        "<presence from='{ROOM}/{nick}' {attrs}><x xmlns='http://jabber.org/protocol/muc#user'>{inside}</x></presence>"
    )
}

fn error(kind: &str, condition: &str) -> String {
    format!("<error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
}

fn refused(kind: &str, condition: &str) -> String {
    format!("<presence from='{ROOM}/hal' type='error'>{}</presence>", error(kind, condition))
}

fn said(nick: &str, text: &str, more: &str) -> String {
    format!(
        "<message from='{ROOM}/{nick}' id='m' type='groupchat'><body>{text}</body>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='s-{text}'/>{more}</message>"
    )
}

fn posted(answer: &mut Answer) -> Option<String> {
    answer.try_recv().unwrap().unwrap().post
}

#[test]
fn a_message_waits_for_its_room_and_is_confirmed_by_its_reflection() {
    let settings = settings();
    let mut script = Script::new(&settings);
    let mut first = script.say("one");
    let written = script.written();
    assert!(written.contains("maxstanzas='0'") && !written.contains("one"), "{written}");
    script.own_presence("hal");
    let written = script.written();
    assert!(written.contains("id='one'") && written.contains("<body>one</body>"), "{written}");
    // Another's message with our id confirms and refuses nothing.
    script.reflect("mallory", "one");
    let refusal = error("cancel", "not-acceptable");
    script.hear(&format!("<message from='{ROOM}/mallory' id='one' type='error'>{refusal}</message>"));
    assert!(first.try_recv().is_err());
    script.reflect("hal", "one");
    assert_eq!(posted(&mut first), Some("s-one".into()));
}

#[test]
fn a_message_that_was_given_up_and_confirmed_late_is_not_written_twice() {
    let settings = settings();
    let mut script = Script::inside(&settings);
    let first = script.say("two");
    assert!(script.written().contains("id='two'"));
    drop(first);
    let second = script.say("two");
    assert!(script.written().is_empty(), "it is on its way");
    drop(second);
    script.reflect("hal", "two");
    let mut third = script.say("two");
    assert!(script.written().is_empty(), "it was taken");
    assert_eq!(posted(&mut third), Some("s-two".into()));
}

#[test]
fn a_new_room_is_unlocked_before_anything_is_said() {
    let settings = settings();
    let mut script = Script::new(&settings);
    let mut answer = script.say("one");
    script.written();
    script.hear(&presence("hal", "", "<status code='201'/><status code='110'/>"));
    script.answer("muc#owner", "");
    let written = script.written();
    assert!(written.contains("id='one'"), "{written}");
    script.reflect("hal", "one");
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn a_room_that_refuses_us_says_why_and_a_taken_nick_grows() {
    let settings = settings();
    let mut script = Script::new(&settings);
    let mut answer = script.say("one");
    script.written();
    for nick in ["hal_", "hal__", "hal___"] {
        script.hear(&refused("cancel", "conflict"));
        assert!(script.written().contains(&format!("to='{ROOM}/{nick}'")));
    }
    script.hear(&refused("cancel", "conflict"));
    let failure = answer.try_recv().unwrap().unwrap_err();
    assert_eq!(failure, Failure::Auth { reason: "x.test: no way into the room: conflict".into() });
    let mut answer = script.say("two");
    script.hear(&refused("wait", "service-unavailable"));
    assert!(matches!(answer.try_recv().unwrap(), Err(Failure::Transient { ambiguous: false, .. })));
}

#[test]
fn a_membership_that_was_lost_in_silence_is_noticed() {
    let settings = settings();
    let mut script = Script::inside(&settings);
    // By a message that the room refuses.
    let mut answer = script.say("one");
    script.hear(&format!(
        "<message from='{ROOM}' id='one' type='error'>{}</message>",
        error("cancel", "not-acceptable")
    ));
    assert!(matches!(answer.try_recv().unwrap(), Err(Failure::Transient { ambiguous: false, .. })));
    script.say("two");
    script.written();
    script.own_presence("hal");
    script.written();
    // By a ping to ourselves, after a silence.
    script.pass(SILENCE + Duration::from_secs(1));
    script.answer("urn:xmpp:ping", &error("cancel", "service-unavailable"));
    script.pass(Duration::from_secs(2));
    assert!(script.written().is_empty(), "an error that says that we are in");
    script.pass(SILENCE + Duration::from_secs(1));
    script.answer("urn:xmpp:ping", &error("cancel", "not-acceptable"));
    script.pass(Duration::from_secs(2));
    assert!(script.written().contains("maxstanzas"), "the listener's room is entered again");
}

#[test]
fn a_kick_is_answered_by_entering_again_with_growing_pauses() {
    let settings = settings();
    let mut script = Script::inside(&settings);
    for pause in [1, 2, 4] {
        script.hear(&presence("hal", "type='unavailable'", "<status code='307'/><status code='110'/>"));
        script.hear(&refused("auth", "forbidden"));
        script.written();
        script.pass(Duration::from_secs(pause));
        script.pass(Duration::from_secs(60));
        assert!(script.written().contains("maxstanzas"), "after {pause} s");
    }
}

#[test]
fn a_speaker_is_known_by_the_address_that_the_room_shows_now() {
    let settings = settings();
    let mut script = Script::inside(&settings);
    let item = |jid: &str| format!("<item affiliation='none' role='participant' jid='{jid}'/>");
    let person = |script: &mut Script, nick: &str| {
        script.hear(&said(nick, "!status", ""));
        script.heard().pop().unwrap().person
    };
    script.hear(&presence("alice", "", &item("alice@x.test/phone")));
    assert_eq!(person(&mut script, "alice"), Some("alice@x.test".into()));
    // Another person's nick of the same look, and a nick that no presence told of.
    script.hear(&presence("Alice", "", &item("mallory@x.test/a")));
    assert_eq!(person(&mut script, "Alice"), Some("mallory@x.test".into()));
    assert_eq!(person(&mut script, "bob"), None);
    // The nick goes to somebody else.
    script.hear(&presence("alice", "type='unavailable'", "<item nick='al'/><status code='303'/>"));
    assert_eq!(person(&mut script, "alice"), None);
    script.hear(&presence("alice", "", &item("mallory@x.test/b")));
    assert_eq!(person(&mut script, "alice"), Some("mallory@x.test".into()));
    // A presence without an address takes it back, also one that is odd otherwise.
    script.hear(&format!("<presence from='{ROOM}/alice'><show>bogus</show><x xmlns='http://jabber.org/protocol/muc#user'><status code='999'/></x></presence>"));
    assert_eq!(person(&mut script, "alice"), None);
    // A presence from elsewhere says nothing about this room.
    script.hear("<presence from='other@c.x/alice'><x xmlns='http://jabber.org/protocol/muc#user'><item jid='alice@x.test/a'/></x></presence>");
    assert_eq!(person(&mut script, "alice"), None);
}

#[test]
fn what_is_no_command_is_not_heard() {
    let settings = settings();
    let mut script = Script::inside(&settings);
    script.hear(&presence(
        "relay",
        "",
        "<item affiliation='none' role='participant' jid='hal@x.test/other'/>",
    ));
    script.hear(&said("alice", "old", "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"));
    script.hear(&said("alice", "corrected", "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>"));
    script.hear(&said("hal", "own", ""));
    script.hear(&said("relay", "own", ""));
    script.hear(&said("alice", " ", ""));
    let long = "x".repeat(17 * 1024);
    script.hear(&format!("<message from='{ROOM}/alice' type='groupchat'><body>{long}</body></message>"));
    script.hear(&format!("<message from='{ROOM}/alice' type='error'><body>!error</body></message>"));
    script.hear(&format!("<message from='{ROOM}/alice' type='headline'><body>!headline</body></message>"));
    script.hear(&format!("<message from='{ROOM}' type='groupchat'><body>the room itself</body></message>"));
    script.hear(&format!(
        "<message from='{ROOM}/alice' type='groupchat'><subject>!subject</subject></message>"
    ));
    script.hear("<message from='hal@x.test/phone' type='chat'><body>own account</body></message>");
    script.hear("<message from='x.test' type='normal'><body>the server</body></message>");
    assert_eq!(script.heard(), []);

    script.hear(&said("alice", "!status", ""));
    script.hear(&format!("<message from='{ROOM}/alice' id='p' type='chat'><body>!private</body></message>"));
    script.hear("<message from='bob@x.test/phone' id='d' type='chat'><body>!direct</body></message>");
    let heard: Vec<_> = script
        .heard()
        .into_iter()
        .map(|heard| (heard.event, heard.text, heard.is_private, heard.reply_to))
        .collect();
    assert_eq!(
        heard,
        [
            (Some("s-!status".into()), "!status".into(), false, format!("{ROOM}/alice")),
            (None, "!private".into(), true, format!("{ROOM}/alice")),
            (None, "!direct".into(), true, "bob@x.test/phone".into()),
        ]
    );
}

#[test]
fn an_id_counts_only_in_a_room_that_says_that_it_gives_ids() {
    let settings = settings();
    let mut script = Script::new(&settings);
    script.rooms.want(&Muc::new(ROOM, None).unwrap(), script.now);
    // Another one answers in the room's name.
    let id = script.written().split("id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let query =
        "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:sid:0'/></query>";
    script.hear(&format!("<iq from='{ROOM}/mallory' id='{id}' type='result'>{query}</iq>"));
    script.own_presence("hal");
    script.hear(&said("alice", "!status", ""));
    assert_eq!(script.heard()[0].event, None);
}

#[test]
fn a_missed_message_is_heard_if_the_room_vouches_for_an_occupant() {
    let settings = settings();
    let mut script = Script::new(&settings);
    script.rooms.want(&Muc::new(ROOM, None).unwrap(), script.now);
    let features = ["urn:xmpp:sid:0", "urn:xmpp:mam:2", "urn:xmpp:occupant-id:0"];
    let features: String = features.map(|feature| format!("<feature var='{feature}'/>")).concat();
    script.answer(
        "disco#info",
        &format!("<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>"),
    );
    let id = |id: &str| format!("<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>");
    let with_id = |nick: &str, jid: &str, own: &str, occupant: &str| {
        let item = format!("<item jid='{jid}/phone'/>{own}");
        presence(nick, "", &item).replace("</presence>", &format!("{}</presence>", id(occupant)))
    };
    script.hear(&with_id("ann", "ann@x.test", "", "o-ann"));
    script.hear(&with_id("hal", "hal@x.test", "<status code='110'/>", "o-hal"));
    let written = script.written();
    let query: Element =
        written.lines().find(|line| line.contains("urn:xmpp:mam:2")).unwrap().parse().unwrap();
    assert!(written.contains("<before") && written.contains("<max>50</max>"), "{written}");
    let query = query.attr("id").unwrap();
    let kept = |query: &str, from: &str, nick: &str, occupant: &str, more: &str| {
        format!(
            "<message from='{from}'><result xmlns='urn:xmpp:mam:2' id='s-1' queryid='{query}'><forwarded xmlns='urn:xmpp:forward:0'>\
             <delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/><message xmlns='jabber:client' from='{ROOM}/{nick}' \
             type='groupchat'><body>!status</body>{}{more}</message></forwarded></result></message>",
            id(occupant)
        )
    };
    // The nick of the one who spoke is another's now: the id says who it was.
    script.hear(&kept(query, ROOM, "Ann", "o-ann", ""));
    let heard = script.heard();
    let [heard] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((heard.person.as_deref(), heard.event.as_deref()), (Some("ann@x.test"), Some("s-1")));
    assert!(!heard.is_private && heard.room.as_deref() == Some(ROOM) && heard.nick == "Ann");
    let forged = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='ann@x.test'/></x>";
    for not_heard in [
        kept(query, ROOM, "eve", "o-eve", forged),
        kept(query, ROOM, "ann", "o-ann", &id("o-eve")),
        kept(query, ROOM, "hal", "o-hal", ""),
        kept(query, ROOM, "ann", "o-ann", "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>"),
        kept("hal-0", ROOM, "ann", "o-ann", ""),
        kept(query, &format!("{ROOM}/eve"), "ann", "o-ann", ""),
        kept(query, "eve@x.test/phone", "ann", "o-ann", ""),
    ] {
        script.hear(&not_heard);
        assert_eq!(script.heard(), [], "{not_heard}");
    }
    script.hear(&format!("<iq from='{ROOM}' id='{query}' type='result'><fin xmlns='urn:xmpp:mam:2'/></iq>"));
    script.hear(&kept(query, ROOM, "ann", "o-ann", ""));
    assert_eq!(script.heard(), [], "it was answered");
}
