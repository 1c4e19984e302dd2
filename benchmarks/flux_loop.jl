# Training as a Flux user would write it by hand, from the documentation: a DataLoader, withgradient, update!.
module FluxLoop

using Flux

"""A classifier with relu layers of these widths, and Adam's state for it."""
function begin_training(features::Integer, widths, classes::Integer, rate::Real)
    sizes = (Int(features), Int.(widths)...)
    hidden = [Dense(sizes[i] => sizes[i+1], relu) for i in 1:length(sizes)-1]
    model = Chain(hidden..., Dense(last(sizes) => Int(classes)))
    return model, Flux.setup(Adam(rate), model)
end

"""One epoch over the columns of `x`; `y` are one-hot labels. Returns the mean loss per row."""
function train_epoch!((model, state), x, y, batch_size)
    total = 0.0
    for (inputs, labels) in Flux.DataLoader((x, y); batchsize = Int(batch_size), shuffle = true)
        loss, gradients = Flux.withgradient(model) do m
            Flux.logitcrossentropy(m(inputs), labels)
        end
        Flux.update!(state, model, gradients[1])
        total += loss * size(inputs, 2)
    end
    return total / size(x, 2)
end

"""Loss and accuracy on rows that are not learnt from."""
function validate((model, _), x, y)
    output = model(x)
    return Flux.logitcrossentropy(output, y), count(Flux.onecold(output) .== Flux.onecold(y)) / size(x, 2)
end

"""Labels counted from zero, one-hot."""
one_hot(labels, classes) = Flux.onehotbatch(labels, 0:Int(classes)-1)

end
