package queue

// Delivery is an image that was taken out of its queue. Exactly one of Ack and Requeue ends it; what comes after the
// first of them does nothing, so that Requeue can be deferred. A Delivery must not be copied once it is in use.
type Delivery struct {
	Image
	owner Acknowledger // nil once the delivery has ended
}

// Acknowledger is the side of an engine that ends deliveries. It finds its own record of one in Handle.
type Acknowledger interface {
	// Ack frees an image that has reached its consumer.
	Ack(image Image)
	// Requeue puts an image back at its place in the queue, for as long as it lives.
	Requeue(image Image)
}

// NewDelivery returns a delivery that owner ends.
func NewDelivery(image Image, owner Acknowledger) Delivery {
	return Delivery{Image: image, owner: owner}
}

// Ack ends the delivery of an image that has reached its consumer.
func (d *Delivery) Ack() {
	if owner := d.end(); owner != nil {
		owner.Ack(d.Image)
	}
}

// Requeue ends the delivery of an image that has not reached its consumer, and reports whether it was this call that
// ended it. The image goes back to its place in the queue.
func (d *Delivery) Requeue() bool {
	owner := d.end()
	if owner != nil {
		owner.Requeue(d.Image)
	}
	return owner != nil
}

func (d *Delivery) end() Acknowledger {
	owner := d.owner
	d.owner = nil
	return owner
}
