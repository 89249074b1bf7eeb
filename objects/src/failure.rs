//! What a store's error means: which [`Cause`] it is.

use std::error::Error as _;

use object_store::Error;
use object_store::client::HttpError;

use crate::connector::Answer;
use crate::error::Cause;

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::NotFound(error),
            Error::PermissionDenied { .. } => Self::Denied(error),
            Error::Unauthenticated { .. } => Self::Unauthenticated(error),
            _ => Self::from_sources(error),
        }
    }
}

impl Cause {
    /// By what lies below: an answer that the connector kept, else a connection that failed, else
    /// the store's own complaint.
    fn from_sources(error: Error) -> Self {
        let (mut connection, mut plain_http) = (false, false);
        let mut answer = None;
        let mut below = error.source();
        while let Some(source) = below {
            connection |= source.is::<HttpError>();
            // The client below has no type for it.
            plain_http |= source.to_string() == "URL scheme is not allowed";
            answer = answer.or(source.downcast_ref::<Answer>().copied());
            below = source.source();
        }
        match answer {
            Some(Answer::RangeIgnored) => Self::RangeIgnored,
            Some(Answer::Shifted { start, end }) => Self::Shifted { got: start..end },
            Some(Answer::Status { status: status @ (429 | 503), retry_after }) => {
                Self::Throttled { status, retry_after }
            }
            Some(Answer::Status { status, .. }) => Self::Status { status },
            None if plain_http => Self::PlainHttp,
            None if connection => Self::Connection(error),
            None => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::client::HttpErrorKind;
    use std::io;
    use std::time::Duration;

    fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Cause {
        Cause::from(Error::Generic { store: "test", source: Box::new(source) })
    }

    #[test]
    fn an_answer_is_found_below_what_wraps_it() {
        let answered = |answer| generic(HttpError::new(HttpErrorKind::Unknown, answer));
        let retry_after = Some(Duration::from_secs(2));
        assert!(matches!(
            answered(Answer::Status { status: 503, retry_after }),
            Cause::Throttled { status: 503, retry_after: found } if found == retry_after
        ));
        assert!(matches!(
            answered(Answer::Status { status: 500, retry_after: None }),
            Cause::Status { status: 500 }
        ));
        assert!(matches!(answered(Answer::RangeIgnored), Cause::RangeIgnored));
    }

    #[test]
    fn what_may_pass_is_told_from_what_may_not() {
        let broken = generic(HttpError::new(HttpErrorKind::Interrupted, io::Error::other("gone")));
        assert!(matches!(broken, Cause::Connection(_)) && broken.may_pass());
        assert!(!generic(io::Error::other("odd")).may_pass());
        let status = |status| Cause::Status { status };
        assert_eq!(
            [408, 416, 418, 500, 599].map(|code| status(code).may_pass()),
            [true, false, false, true, true]
        );
        assert!(!Cause::Cancelled.may_pass());
    }
}
