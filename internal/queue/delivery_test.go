package queue

import "testing"

func TestDeliveryEndsOnce(t *testing.T) {
	t.Parallel()
	r := new(recorder)
	image := Image{Data: []byte("image")}

	acknowledged := NewDelivery(image, r)
	acknowledged.Ack()
	r.want(t, "ack", "ack image")
	acknowledged.Ack()
	if acknowledged.Requeue() {
		t.Error("Requeue after Ack reports that it ended the delivery")
	}
	r.want(t, "after ack")

	requeued := NewDelivery(image, r)
	if !requeued.Requeue() {
		t.Error("Requeue does not report that it ended the delivery")
	}
	r.want(t, "requeue", "requeue image")
	if requeued.Requeue() {
		t.Error("Requeue reports again that it ended the delivery")
	}
	requeued.Ack()
	r.want(t, "after requeue")
	if string(requeued.Data) != "image" {
		t.Errorf("after its end a delivery has the image %q", requeued.Data)
	}

	var none Delivery
	none.Ack()
	if none.Requeue() {
		t.Error("the zero Delivery reports that it was ended")
	}
}

// A deferred Requeue is how consumers use a Delivery.
func TestDeliveryDeferredRequeue(t *testing.T) {
	t.Parallel()
	r := new(recorder)
	consume := func(written bool) {
		d := NewDelivery(Image{Data: []byte("image")}, r)
		defer d.Requeue()
		if written {
			d.Ack()
		}
	}
	consume(true)
	r.want(t, "written", "ack image")
	consume(false)
	r.want(t, "not written", "requeue image")
}
