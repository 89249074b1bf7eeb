//! The service of `--ingest`: how it is reached, and what it is sent.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::client::IngestClient;
use super::error::{ClientError, ObjectError, Sent};
use super::options::GetOptions;
use crate::client::Target;
use crate::vectors::{FormatError, ImageOptions, RowIds, VectorImage};

/// The service, and how vectors are sent to it.
#[derive(Clone, Debug)]
pub(super) struct IngestService {
    target: Target,
    timeout: Duration,
    column: Option<String>,
    id_column: Option<String>,
    number_rows_from: Option<u64>,
    convert: bool,
    batch_bytes_max: u64,
    max_vectors: u32,
    /// Set once the service has said that it stores ids.
    asks_for_ids: Arc<OnceLock<()>>,
}

impl IngestService {
    pub(super) fn new(target: &Target, options: &GetOptions) -> IngestService {
        IngestService {
            target: target.clone(),
            timeout: options.timeout,
            column: options.column.clone(),
            id_column: options.id_column.clone(),
            number_rows_from: options.number_rows_from,
            convert: options.convert,
            batch_bytes_max: options.batch_max.0,
            max_vectors: options.max_vectors,
            asks_for_ids: Arc::default(),
        }
    }

    /// Sends the rows that `read` finds, with their ids if the service stores ids. Only its answer
    /// to a hello says so, which carries the dimension: the rows found before it are read again.
    /// Uses the open connection if there is one, else a new one, and leaves it open in `client` if
    /// it can be used again. Blocks.
    pub(super) fn send<'a>(
        &self,
        client: &mut Option<IngestClient>,
        read: impl Fn(&IngestService) -> Result<VectorImage<'a>, FormatError>,
        cancel: &CancellationToken,
        sent: &mut Sent,
    ) -> Result<(), ObjectError> {
        let mut vectors = read(self)?;
        let mut open_client =
            self.greeted(client.take(), vectors.dim(), cancel).map_err(|error| match error {
                ClientError::Cancelled => ObjectError::Cancelled,
                error => error.into(),
            })?;
        if open_client.sends_ids() && !vectors.has_ids() {
            vectors = match read(self) {
                Ok(vectors) => vectors,
                Err(error) => {
                    *client = Some(open_client);
                    return Err(error.into());
                }
            };
        }
        match open_client.send(&vectors, cancel, sent) {
            Err(ClientError::Cancelled) => Err(ObjectError::CancelledSending(sent.clone())),
            // Every request was answered.
            result
            @ (Ok(()) | Err(ClientError::NotFinite { .. } | ClientError::NotSent { .. })) => {
                *client = Some(open_client);
                Ok(result?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The open connection if it can be used, else a new one, after the hello.
    fn greeted(
        &self,
        client: Option<IngestClient>,
        dim: u32,
        cancel: &CancellationToken,
    ) -> Result<IngestClient, ClientError> {
        let mut client = match client.and_then(IngestClient::if_usable) {
            Some(client) if client.is_greeted() => return Ok(client),
            Some(client) => client,
            None => self.connect(cancel)?,
        };
        let ids = self.row_ids() != RowIds::None;
        match client.greet(dim, ids, cancel) {
            Err(error) if !ids && error.asks_for_ids() => {
                // Only the first one to know it sets it.
                let _ = self.asks_for_ids.set(());
                client = self.connect(cancel)?;
                client.greet(dim, true, cancel)?;
            }
            greeted => greeted?,
        }
        Ok(client)
    }

    /// Where ids come from: as an option says, or from the usual column if the service has asked
    /// for ids.
    pub(super) fn row_ids(&self) -> RowIds<'_> {
        match (self.number_rows_from, &self.id_column) {
            (Some(first), _) => RowIds::NumbersFrom(first),
            (None, Some(name)) => RowIds::Column(Some(name)),
            (None, None) if self.asks_for_ids.get().is_some() => RowIds::Column(None),
            (None, None) => RowIds::None,
        }
    }

    pub(super) fn connect(&self, cancel: &CancellationToken) -> Result<IngestClient, ClientError> {
        IngestClient::connect(&self.target, self.max_vectors, self.timeout, cancel)
    }

    pub(super) fn image_options(&self) -> ImageOptions<'_> {
        ImageOptions {
            column: self.column.as_deref(),
            convert: self.convert,
            ids: self.row_ids(),
            batch_bytes_max: self.batch_bytes_max,
        }
    }

    /// Most vectors of a request.
    pub(super) fn max_vectors(&self) -> u32 {
        self.max_vectors
    }
}
