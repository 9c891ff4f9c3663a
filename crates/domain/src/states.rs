//! The states of a vectorizer and of a record, the legal transitions, and what is shown to
//! people. Stored as the texts of `as_str`.

/// What the catalog says of a vectorizer.
///
/// ```text
///            pause                    configuration error
///  paused <--------- running ------------------------------> halted
///     |     resume ---^   ^------------- resume --------------|  |
///     ^--------------------------- pause ------------------------+
/// ```
///
/// A paused vectorizer does not halt: whoever paused it decides when it goes on, and the error comes
/// back by itself if its cause is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VectorizerState {
    /// Works whenever there is something to do.
    Running,
    /// Somebody paused it.
    Paused,
    /// Stopped itself over an error that every row would meet.
    Halted,
}

impl VectorizerState {
    pub const ALL: [VectorizerState; 3] =
        [VectorizerState::Running, VectorizerState::Paused, VectorizerState::Halted];

    pub fn as_str(self) -> &'static str {
        match self {
            VectorizerState::Running => "running",
            VectorizerState::Paused => "paused",
            VectorizerState::Halted => "halted",
        }
    }

    /// The state whose `as_str` is `text`.
    pub fn parse(text: &str) -> Option<VectorizerState> {
        VectorizerState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the catalog may go from this state to `next`. To stay is no transition.
    pub fn may_become(self, next: VectorizerState) -> bool {
        use VectorizerState::{Halted, Paused, Running};
        matches!((self, next), (Running, Paused | Halted) | (Paused, Running) | (Halted, Running | Paused))
    }
}

/// How far the rebuild of a vectorizer has come.
///
/// ```text
/// filling ──> indexing ──> ready ──swap──> swapped ──┐
///                                             ^──────┘ rollback
/// ```
///
/// To cancel it, or to drop the previous store, deletes its row from any state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RebuildState {
    /// The new store gets its rows.
    Filling,
    /// It has the rows, and gets the indexes that the old one has.
    Indexing,
    /// It could take over.
    Ready,
    /// It has taken over, and the previous store is kept.
    Swapped,
}

impl RebuildState {
    pub const ALL: [RebuildState; 4] =
        [RebuildState::Filling, RebuildState::Indexing, RebuildState::Ready, RebuildState::Swapped];

    pub fn as_str(self) -> &'static str {
        match self {
            RebuildState::Filling => "filling",
            RebuildState::Indexing => "indexing",
            RebuildState::Ready => "ready",
            RebuildState::Swapped => "swapped",
        }
    }

    /// The state whose `as_str` is `text`.
    pub fn parse(text: &str) -> Option<RebuildState> {
        RebuildState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What a vectorizer is doing, for status views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Changed rows are being embedded, or wait for their turn.
    Running,
    /// Nothing to do.
    Idle,
    /// Waits after request errors.
    BackingOff,
    /// Paused, but a batch is still being completed.
    Pausing,
    Paused,
    Halted,
    /// The first pass over existing rows is not through.
    Backfilling,
    /// Its windows are closed.
    WaitingForWindow,
    /// Gives way to a busy server.
    Throttled,
}

/// What `Activity::of` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    pub state: VectorizerState,
    /// It has windows, and none is open.
    pub window_closed: bool,
    /// The server is busy.
    pub throttled: bool,
    /// A batch is held by a worker.
    pub in_flight: bool,
    /// The wait after an error is not over.
    pub backing_off: bool,
    /// The first pass over existing rows is through.
    pub backfilled: bool,
    /// Changed rows wait.
    pub pending: bool,
}

impl Activity {
    pub const ALL: [Activity; 9] = [
        Activity::Running,
        Activity::Idle,
        Activity::BackingOff,
        Activity::Pausing,
        Activity::Paused,
        Activity::Halted,
        Activity::Backfilling,
        Activity::WaitingForWindow,
        Activity::Throttled,
    ];

    /// The first that holds of: halted, pausing, paused, waiting for window, backing off, throttled
    /// (with work to do), backfilling, running, idle.
    pub fn of(signs: Signs) -> Activity {
        match signs.state {
            VectorizerState::Halted => Activity::Halted,
            VectorizerState::Paused if signs.in_flight => Activity::Pausing,
            VectorizerState::Paused => Activity::Paused,
            VectorizerState::Running if signs.window_closed => Activity::WaitingForWindow,
            VectorizerState::Running if signs.backing_off => Activity::BackingOff,
            VectorizerState::Running if signs.throttled && (signs.pending || !signs.backfilled) => {
                Activity::Throttled
            }
            VectorizerState::Running if !signs.backfilled => Activity::Backfilling,
            VectorizerState::Running if signs.in_flight || signs.pending => Activity::Running,
            VectorizerState::Running => Activity::Idle,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Running => "running",
            Activity::Idle => "idle",
            Activity::BackingOff => "backing_off",
            Activity::Pausing => "pausing",
            Activity::Paused => "paused",
            Activity::Halted => "halted",
            Activity::Backfilling => "backfilling",
            Activity::WaitingForWindow => "waiting_for_window",
            Activity::Throttled => "throttled",
        }
    }

    /// The activity whose `as_str` is `text`.
    pub fn parse(text: &str) -> Option<Activity> {
        Activity::ALL.into_iter().find(|activity| activity.as_str() == text)
    }
}

/// How far one source row has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordState {
    /// Changed, and waits.
    Pending,
    /// In the hands of a worker.
    Processing,
    /// Its chunks and vectors are those of its text.
    Embedded,
    /// Set aside with its error.
    Failed,
}

impl RecordState {
    pub const ALL: [RecordState; 4] =
        [RecordState::Pending, RecordState::Processing, RecordState::Embedded, RecordState::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            RecordState::Pending => "pending",
            RecordState::Processing => "processing",
            RecordState::Embedded => "embedded",
            RecordState::Failed => "failed",
        }
    }

    /// The state whose `as_str` is `text`.
    pub fn parse(text: &str) -> Option<RecordState> {
        RecordState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_differ() {
        for state in VectorizerState::ALL {
            assert_eq!(VectorizerState::parse(state.as_str()), Some(state));
        }
        for activity in Activity::ALL {
            assert_eq!(Activity::parse(activity.as_str()), Some(activity));
        }
        for state in RecordState::ALL {
            assert_eq!(RecordState::parse(state.as_str()), Some(state));
        }
        assert_eq!(VectorizerState::parse("Running"), None);
        assert_eq!(Activity::parse(""), None);
        assert_eq!(RecordState::parse("done"), None);
    }

    #[test]
    fn exactly_the_drawn_transitions_are_legal() {
        let legal: Vec<(&str, &str)> = VectorizerState::ALL
            .into_iter()
            .flat_map(|from| VectorizerState::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect();
        assert_eq!(
            legal,
            [
                ("running", "paused"),
                ("running", "halted"),
                ("paused", "running"),
                ("halted", "running"),
                ("halted", "paused")
            ]
        );
    }

    #[test]
    fn the_activity_is_the_most_telling_sign() {
        let all = Signs {
            state: VectorizerState::Running,
            window_closed: true,
            throttled: true,
            in_flight: true,
            backing_off: true,
            backfilled: false,
            pending: true,
        };
        let shown = |signs: Signs| Activity::of(signs).as_str();
        assert_eq!(shown(Signs { state: VectorizerState::Halted, ..all }), "halted");
        assert_eq!(shown(Signs { state: VectorizerState::Paused, ..all }), "pausing");
        assert_eq!(shown(Signs { state: VectorizerState::Paused, in_flight: false, ..all }), "paused");
        assert_eq!(shown(all), "waiting_for_window");
        let open = Signs { window_closed: false, ..all };
        assert_eq!(shown(open), "backing_off");
        assert_eq!(shown(Signs { backing_off: false, ..open }), "throttled");
        let free = Signs { backing_off: false, throttled: false, ..open };
        assert_eq!(shown(free), "backfilling");
        let through = Signs { backfilled: true, ..free };
        assert_eq!(shown(through), "running");
        assert_eq!(shown(Signs { in_flight: false, ..through }), "running");
        assert_eq!(shown(Signs { pending: false, ..through }), "running");
        let idle = Signs { in_flight: false, pending: false, ..through };
        assert_eq!(shown(idle), "idle");
        assert_eq!(shown(Signs { throttled: true, ..idle }), "idle");
    }
}
