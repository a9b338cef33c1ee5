//! What happens to containers, told to containerd: in the order in which it happened, each once it takes it.
//!
//! Where containerd is away, they wait for it. Where there is nobody to tell (CRI-O gives no address), they are dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{MessageField, MessageFull};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc;
use tokio::sync::{mpsc, watch};

use crate::log;

/// Takes events.
pub(crate) struct Events {
    namespace: String,
    /// None where there is nobody to tell.
    waiting: Option<mpsc::UnboundedSender<Envelope>>,
    /// How many have been told.
    told: watch::Receiver<usize>,
    taken: AtomicUsize,
}

pub(crate) fn timestamp(at: SystemTime) -> MessageField<Timestamp> {
    MessageField::some(Timestamp::from(at))
}

/// A message with its type's name, as containerd's own have it: without a host.
pub(crate) fn any<M: MessageFull>(message: &M) -> Any {
    let name = M::descriptor();
    Any { type_url: name.full_name().to_owned(), value: message.write_to_bytes().unwrap_or_default(), ..Any::default() }
}

impl Events {
    /// Tells containerd at that address (a socket's path), if there is one.
    pub(crate) fn new(address: Option<&str>, namespace: &str) -> Events {
        let (count, told) = watch::channel(0);
        let waiting = address.filter(|a| !a.is_empty()).map(|address| {
            let address = if address.contains("://") { address.to_owned() } else { format!("unix://{address}") };
            let (events, waiting) = mpsc::unbounded_channel();
            tokio::spawn(publish(address, waiting, count));
            events
        });
        Events { namespace: namespace.to_owned(), waiting, told, taken: AtomicUsize::new(0) }
    }

    /// Tells one, by and by.
    pub(crate) fn tell<M: MessageFull>(&self, topic: &str, event: &M) {
        let Some(waiting) = &self.waiting else { return };
        let envelope = Envelope {
            timestamp: timestamp(SystemTime::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(any(event)),
            ..Envelope::default()
        };
        self.taken.fetch_add(1, Ordering::Relaxed);
        let _ = waiting.send(envelope);
    }

    /// Waits until all have been told, but no longer than `patience`.
    pub(crate) async fn all_told(&self, patience: Duration) {
        let taken = self.taken.load(Ordering::Relaxed);
        if self.waiting.is_some() {
            let mut told = self.told.clone();
            let _ = tokio::time::timeout(patience, told.wait_for(|told| *told >= taken)).await;
        }
    }
}

async fn publish(address: String, mut waiting: mpsc::UnboundedReceiver<Envelope>, count: watch::Sender<usize>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(5);
    let mut client: Option<EventsClient> = None;
    while let Some(envelope) = waiting.recv().await {
        let topic = envelope.topic.clone();
        let request = ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        let mut pause = Duration::from_millis(20);
        loop {
            let problem = match told(&mut client, &address, &request, PATIENCE).await {
                Ok(()) => break,
                Err(e) => e,
            };
            client = None;
            log::debug(format_args!("event {topic}: {problem}"));
            // It may be starting anew.
            tokio::time::sleep(pause).await;
            pause = LONGEST.min(pause * 2);
        }
        count.send_modify(|count| *count += 1);
    }
}

async fn told(client: &mut Option<EventsClient>, address: &str, request: &ForwardRequest, patience: Duration) -> Result<(), ttrpc::Error> {
    let client = match client {
        Some(client) => client,
        None => client.insert(EventsClient::new(Client::connect(address).await?)),
    };
    client.forward(ttrpc::context::with_duration(patience), request).await.map(drop)
}
